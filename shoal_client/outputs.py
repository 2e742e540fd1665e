"""Hands the chosen proxies to the files and mounts that the settings name; or shows what would be done."""

import logging
import shlex
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TextIO

from shoal_client import administrator, cms, cvmfs, formats, frontier, live
from shoal_client.actions import ExitCode, worst
from shoal_client.documents import Document, left, own
from shoal_client.effective import AS_IT_IS, View
from shoal_client.results import Result
from shoal_client.settings import ClientSettings, PacSite
from shoal_common.errors import InvalidProxyList, Unavailable
from shoal_common.heartbeat import Upstream
from shoal_common.proxylist import ProxyList

RELOAD_SECONDS = 300.0
log = logging.getLogger(__name__)


def services(settings: ClientSettings) -> tuple[Upstream, ...]:
    """What squids are needed for, by the outputs that are configured."""
    found = []
    if settings.write_cvmfs or settings.set_live or _shared(settings) or settings.cvmfs_blocks:
        found.append(Upstream.CVMFS)
    if settings.frontier_file or settings.site_local_config:
        found.append(Upstream.FRONTIER)
    return tuple(found)


def _shared(settings: ClientSettings) -> bool:
    return any((settings.pac_file, settings.json_file, settings.http_proxy_file, settings.configmap_file))


def apply(
    result: Result, settings: ClientSettings, environ: Mapping[str, str], out: TextIO, *, dry_run: bool
) -> ExitCode:
    """Write the files of `result`'s service and set the mounts; with `dry_run` print it instead."""
    if not result.found:
        log.warning("no squid was found good: the configuration of %s stays as it is", result.service)
        return ExitCode.FAILED
    if result.unknown:
        log.error("the configuration of %s stays as it is: %s", result.service, result.unknown)
        return ExitCode.FAILED
    try:
        documents = list(_documents(result, settings))
    except InvalidProxyList as error:
        log.error("the configuration of %s stays as it is: %s", result.service, error)  # noqa: TRY400
        return ExitCode.FAILED
    if result.kept:
        log.warning("no server listed a good squid: the configuration of %s stays as it is", result.service)
        missing = [document for document in documents if not document.written]
        return worst(
            [ExitCode.KEPT, *(_write(document, settings, out, dry_run=dry_run) for document in missing)]
        )
    codes = [_write(document, settings, out, dry_run=dry_run) for document in documents]
    if result.service is Upstream.FRONTIER:
        return worst(codes)
    each = zip(documents, codes, strict=True)
    written = {document.path: code for document, code in each if code is not ExitCode.FAILED}
    _tell_overriding(written, settings.cvmfs_directory)
    if settings.reload_command and ExitCode.CHANGED in codes:
        codes.append(_reload(settings.reload_command, environ, out, dry_run=dry_run))
    if settings.set_live:
        view = planned(documents) if dry_run else AS_IT_IS
        codes.append(live.apply(result, settings, environ, view, out, dry_run=dry_run))
    return worst(codes)


def view_after(result: Result, settings: ClientSettings) -> View:
    """The files of CVMFS as a run with this result would leave them; raises InvalidProxyList."""
    return planned(_documents(result, settings))


def planned(documents: Iterable[Document]) -> View:
    """The files as they would be with these; one that cannot be written stays as it is."""
    instead = {}
    for document in documents:
        with suppress(Unavailable):
            instead[document.path] = document.change()[1]
    return View(instead)


def _documents(result: Result, settings: ClientSettings) -> Iterator[Document]:
    """The files for a service; raises InvalidProxyList if the chain cannot be written in one of them."""
    chain = result.chain
    if result.service is Upstream.FRONTIER:
        if settings.frontier_file:
            yield _frontier_file(result, settings)
        if settings.site_local_config:
            yield cms.site_local_config(settings.site_local_config, chain, result.equals)
        return
    if settings.write_cvmfs:
        yield _for_cvmfs(cvmfs.own_file, settings.cvmfs_config, result, settings)
    for path in settings.cvmfs_blocks:
        yield _for_cvmfs(cvmfs.block_in, path, result, settings)
    if settings.configmap_file:
        manifest = partial(formats.config_map, settings.configmap_name, settings.configmap_namespace)
        yield _for_cvmfs(manifest, settings.configmap_file, result, settings)
    if settings.pac_file:
        yield own(settings.pac_file, formats.pac(chain))
    if settings.json_file:
        yield own(settings.json_file, formats.as_json(chain))
    if settings.http_proxy_file:
        yield formats.http_proxy(settings.http_proxy_file, chain)


def _for_cvmfs(
    make: Callable[[Path, ProxyList, ProxyList | None], Document],
    path: Path,
    result: Result,
    settings: ClientSettings,
) -> Document:
    try:
        chain = _chain(path, cvmfs.PROXIES, result, settings)
        external = _chain(path, cvmfs.EXTERNAL, result, settings) if settings.external_data else None
    except Unavailable as error:
        return left(path, str(error))
    return make(path, chain, external)


def _chain(path: Path, parameter: str, result: Result, settings: ClientSettings) -> ProxyList:
    """What the file of CVMFS at `path` is to set; raises Unavailable if what it sets now is not known."""
    own = result.own(parameter)
    if repository := administrator.repository_of(path):
        found = administrator.defaults(settings, parameter, repository)
        for trouble in found.troubles:
            log.warning("%s", trouble)
        own = found.chain
    chain = result.chosen.then(administrator.missing(own, path, settings, parameter))
    if chain.groups or not result.alone:
        return chain
    if not own.groups:
        raise Unavailable(f"no squid is near enough, and nothing of yours sets {parameter} for it")
    return own


def _frontier_file(result: Result, settings: ClientSettings) -> Document:
    path = settings.frontier_file
    if path is None or not settings.frontier_server:
        raise InvalidProxyList("[frontier] file needs [frontier] string, the string to put the proxies into")
    replace_pac = settings.frontier_pac is PacSite.REPLACE
    balanced = frontier.balances(settings.frontier_server, replace_pac=replace_pac)
    chain = result.equals if balanced else result.chain
    value = frontier.rewrite(settings.frontier_server, chain, replace_pac=replace_pac)
    return own(path, formats.variable(path, "FRONTIER_SERVER", value))


def _write(document: Document, settings: ClientSettings, out: TextIO, *, dry_run: bool) -> ExitCode:
    try:
        if dry_run:
            diff = document.diff()
            out.write(diff or f"# {document.path} stays as it is\n")
            return ExitCode.CHANGED if diff else ExitCode.UNCHANGED
        changed = document.write()
    except Unavailable as error:
        key = _key(document.path, settings)
        log.error("%s: %s", key, error)  # noqa: TRY400 - the operator's mistake, not ours: no traceback
        return ExitCode.FAILED
    log.info("%s %s", document.path, "was changed" if changed else "stays as it is")
    return ExitCode.CHANGED if changed else ExitCode.UNCHANGED


def _key(path: Path, settings: ClientSettings) -> str:
    """The key that names a file to be written."""
    for option in ClientSettings.options():
        value = getattr(settings, option.name)
        if path in (value if isinstance(value, tuple) else (value,)):
            return f"[{option.section}] {option.key}"
    raise LookupError(path)


def _tell_overriding(written: Mapping[Path, ExitCode], directory: Path) -> None:
    """What overrides the files that were written; a file that has a block of ours does not."""
    for path, code in written.items():
        for other in administrator.overriding(directory, path):
            if other not in written:
                log.log(
                    logging.WARNING if code is ExitCode.CHANGED else logging.INFO,
                    "%s has no effect on later mounts: %s sets CVMFS_HTTP_PROXY after it. Write there "
                    'CVMFS_HTTP_PROXY="${CVMFS_HTTP_PROXY:-…}"',
                    path,
                    other,
                )


def _reload(command: str, environ: Mapping[str, str], out: TextIO, *, dry_run: bool) -> ExitCode:
    if dry_run:
        out.write(f"{command}\n")
        return ExitCode.CHANGED
    try:
        done = subprocess.run(
            shlex.split(command),
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=RELOAD_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.error("%s: %s", command, error)  # noqa: TRY400
        return ExitCode.FAILED
    if done.returncode:
        said = done.stdout.decode("utf-8", "replace").strip()[:200]
        log.error("%s ended with %d: %s", command, done.returncode, said)
        return ExitCode.FAILED
    return ExitCode.CHANGED
