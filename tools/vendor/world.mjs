// The world's land as one path, in an equirectangular projection: x = (longitude + 180) / 360 * 1000,
// y = (90 - latitude) / 180 * 500. d3-geo cuts what crosses the date line; naive drawing leaves bands there.
import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";
import { geoEquirectangular, geoPath } from "d3-geo";
import { feature } from "topojson-client";

const [target] = process.argv.slice(2);
const atlas = JSON.parse(readFileSync(createRequire(import.meta.url).resolve("world-atlas/land-110m.json")));
const projection = geoEquirectangular().scale(1000 / (2 * Math.PI)).translate([500, 250]);
const land = geoPath(projection).digits(1)(feature(atlas, atlas.objects.land));
writeFileSync(
  target,
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 500"><path id="land" d="${land}"/></svg>\n`,
);
