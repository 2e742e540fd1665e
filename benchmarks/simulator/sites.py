"""Real places where squids and workers of the field are: computing centres, universities, cloud regions.

Coordinates are those of the campus or, for cloud regions, of the town that the provider names, to about
a kilometre or a town. The AS numbers are the institutes' own or their national network's.
"""

from dataclasses import dataclass
from enum import StrEnum

from shoal_server.squid import Owner, Place


class Kind(StrEnum):
    """A grid site is in the operator's location table, so its name is known; a cloud region is not."""

    GRID = "grid"
    CLOUD = "cloud"


@dataclass(frozen=True, slots=True)
class Site:
    """One place; `network` is the AS number of the addresses there."""

    name: str
    latitude: float
    longitude: float
    network: int
    kind: Kind = Kind.GRID

    @property
    def place(self) -> Place:
        """As the server's locator would tell it."""
        return Place(self.latitude, self.longitude, self.name if self.kind is Kind.GRID else None)

    @property
    def owner(self) -> Owner:
        """As the server's locator would tell it."""
        return Owner(asn=self.network)


_GRID = """
CERN 46.234 6.046 513
RAL 51.572 -1.313 786
BNL 40.868 -72.879 43
FNAL 41.832 -88.252 3152
TRIUMF 49.247 -123.230 36391
UVic 48.463 -123.312 16462
SFU-Cedar 49.278 -122.917 11105
Waterloo-Graham 43.473 -80.544 12093
Toronto 43.660 -79.396 239
McGill 45.504 -73.577 15318
KEK 36.149 140.076 2505
Tokyo-ICEPP 35.713 139.762 2501
DESY 53.575 9.880 1754
KIT 49.095 8.437 34878
Aachen 50.780 6.060 47610
Munich-LRZ 48.262 11.668 12816
GSI 49.931 8.679 680
Wuppertal 51.245 7.149 680
Goettingen 51.560 9.950 207592
Freiburg 48.010 7.830 553
IN2P3 45.783 4.865 789
GRIF 48.710 2.160 789
LAPP 45.920 6.158 789
CPPM 43.230 5.440 789
Clermont 45.763 3.109 789
Strasbourg 48.606 7.710 2259
CNAF 44.523 11.363 137
Legnaro 45.350 11.950 137
Milano 45.476 9.231 137
Frascati 41.823 12.671 137
Napoli 40.840 14.190 137
Bari 41.110 16.880 137
PIC 41.500 2.109 43115
CIEMAT 40.450 -3.730 766
IFIC 39.510 -0.420 766
LIP 38.750 -9.150 1930
NIKHEF 52.356 4.951 1104
SURF 52.357 4.955 1162
Brussels 50.820 4.380 2611
NDGF-Copenhagen 55.690 12.570 1835
NDGF-Umea 63.820 20.307 2833
NDGF-Linkoping 58.400 15.577 2843
NDGF-Bergen 60.380 5.332 224
NDGF-Oslo 59.940 10.720 224
NDGF-Helsinki 60.176 24.830 1741
Bern 46.951 7.438 559
CSCS 46.024 8.960 559
Prague 50.120 14.470 2852
Krakow 50.060 19.910 8267
Wigner 47.490 18.950 1955
NIPNE 44.350 26.050 2614
Weizmann 31.905 34.809 378
Glasgow 55.872 -4.290 786
Manchester 53.467 -2.234 786
Lancaster 54.010 -2.786 786
Imperial 51.499 -0.175 786
QMUL 51.524 -0.040 786
JINR 56.742 37.190 2875
ASGC 25.041 121.614 24167
IHEP 39.908 116.249 4538
KISTI 36.364 127.358 17579
TIFR 18.907 72.806 55824
Melbourne -37.797 144.961 10148
SLAC 37.418 -122.204 3671
LBNL 37.876 -122.250 16
Caltech 34.137 -118.125 31
UCSD 32.881 -117.234 7377
Chicago-MWT2 41.790 -87.600 160
Indiana 39.170 -86.520 87
UIUC 40.115 -88.224 698
Michigan-AGLT2 42.277 -83.738 36375
Boston-NET2 42.350 -71.100 111
MIT 42.360 -71.092 3
Arlington-SWT2 32.731 -97.115 32637
Oklahoma 35.205 -97.445 25776
Nebraska 40.820 -96.700 7896
Wisconsin 43.073 -89.408 59
Purdue 40.428 -86.914 17
Florida 29.648 -82.344 6356
Vanderbilt 36.144 -86.803 7212
SPRACE -23.520 -46.620 53187
CBPF -22.954 -43.173 1916
Cape-Town -33.940 18.460 36982
"""

_CLOUD = """
AWS-Virginia 39.040 -77.490 16509
AWS-Oregon 45.840 -119.700 16509
AWS-Dublin 53.350 -6.260 16509
AWS-Frankfurt 50.110 8.680 16509
AWS-Tokyo 35.680 139.690 16509
AWS-Sydney -33.870 151.210 16509
AWS-Sao-Paulo -23.550 -46.630 16509
AWS-Montreal 45.500 -73.570 16509
Google-Iowa 41.260 -95.860 396982
Google-Belgium 50.450 3.820 396982
Google-Taiwan 24.070 120.540 396982
Azure-Amsterdam 52.370 4.900 8075
Azure-Virginia 36.670 -78.390 8075
Azure-Texas 29.420 -98.490 8075
OVH-Gravelines 50.990 2.130 16276
OVH-Beauharnois 45.310 -73.870 16276
"""


def _sites(table: str, kind: Kind) -> tuple[Site, ...]:
    rows = (line.split() for line in table.strip().splitlines())
    return tuple(Site(row[0], float(row[1]), float(row[2]), int(row[3]), kind) for row in rows)


SITES = _sites(_GRID, Kind.GRID) + _sites(_CLOUD, Kind.CLOUD)
"""All of them, grid sites first."""


def site(name: str) -> Site:
    """The one of that name; raises KeyError."""
    return _BY_NAME[name]


_BY_NAME = {one.name: one for one in SITES}
