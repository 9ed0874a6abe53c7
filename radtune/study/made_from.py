"""What the results of a study are made from, and which are stale.

A result is stale when its command, the content of a file that it reads, or a package that computes it has changed.
When a file was written, and where the user's files stand, makes no difference.
"""

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from radtune.config import InputError, from_mapping, read_yaml
from radtune.files import git_commit, jsonl_line, package_versions, sha256_file, sha256_text, write_bytes, write_json
from radtune.report import Report, image_base
from radtune.sources import sources
from radtune.sources.table import reports_of
from radtune.study.jobs import Job
from radtune.study.plan import Study

# Bytes of a file that is not hashed at each start: about a tenth of a second.
_LARGE = 2**26
# What a stamp says besides: how long it took, and the state of radtune's code.
_BESIDE = {"seconds", "commit"}


@dataclass(frozen=True)
class Source:
    """The reports of a source: their hash, and how many there are."""

    sha256: str
    reports: int


def read_source(keys: Mapping[str, Any]) -> Iterator[Report]:
    """The reports that prepare_reports.py takes its own from; which columns are not used, it says itself."""
    module = sources().get(str(keys.get("source")))
    if module is None:
        raise InputError(f"source: expected one of {', '.join(sources())}")
    own = {field.name: keys[field.name] for field in fields(module.Keys) if field.name in keys}
    with contextlib.redirect_stderr(io.StringIO()):
        yield from module.read(from_mapping(module.Keys, own, f"source={keys['source']}"))


class Hashes:
    """SHA-256 of what files hold, each read once. Those of large files are kept in a file, by name, size and time."""

    def __init__(self, kept: Path | None = None) -> None:
        """Begins with the hashes kept in a file; with None, with none."""
        self._kept, self._new = kept, False
        self._found: dict[str, str] = {}
        self._seen: dict[tuple[Path, str], str] = {}
        with contextlib.suppress(OSError, ValueError):
            if kept is not None:
                self._found = {str(name): str(value) for name, value in json.loads(kept.read_text()).items()}

    def keep(self) -> None:
        """Writes them for the next start."""
        if self._kept is not None and self._new:
            write_json(self._kept, self._found)

    def of_file(self, path: Path) -> str:
        """That of a file; of a YAML's values, whatever its comments say; of a folder's files, or ``absent``."""
        if path.is_dir():
            # A model: its weights, configurations and tokenizer.
            files = [file for file in sorted((*path.iterdir(), *path.glob("original/*"))) if file.is_file()]
            return sha256_text(json.dumps([(file.name, self.of_file(file)) for file in files]))
        if not path.is_file():
            return "absent"
        if path.suffix in (".yaml", ".yml"):
            return self._once(path, "values", lambda: sha256_text(json.dumps(read_yaml(path), sort_keys=True)))
        return self._once(path, "", lambda: sha256_file(path))

    def of_source(self, keys: Mapping[str, Any]) -> Source:
        """That of the reports in a source: gold that stands beside them in a table does not count."""
        how = f"reports of {json.dumps(keys, sort_keys=True, default=str)}"
        if "input" not in keys:
            return Source(sha256_text(how), int(keys.get("count", 0)))

        def read() -> str:
            found, count = hashlib.sha256(), 0
            for report in read_source(keys):
                found.update(jsonl_line(report).encode())
                count += 1
            return f"{found.hexdigest()} {count}"

        sha, count = self._once(Path(keys["input"]), how, read).split()
        return Source(sha, int(count))

    def of_images(self, keys: Mapping[str, Any]) -> str:
        """That of the images that a table names, or that a folder holds."""
        path, columns = Path(keys["input"]), {name: keys[name] for name in keys if name.endswith("_column")}
        named = {image_base(path) / image for report in reports_of(path, **columns) for image in report.images or ()}
        return sha256_text(json.dumps([self.of_file(image) for image in sorted(named)]))

    def _once(self, path: Path, how: str, hashed: Callable[[], str]) -> str:
        if (path, how) not in self._seen:
            self._seen[path, how] = self._kept_or(path, how, hashed)
        return self._seen[path, how]

    def _kept_or(self, path: Path, how: str, hashed: Callable[[], str]) -> str:
        try:
            stat = path.stat()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None
        if stat.st_size < _LARGE:
            return hashed()
        # Whoever sets the time of writing back leaves that of the change.
        times = f"{stat.st_mtime_ns} {stat.st_ctime_ns}"
        name = sha256_text(f"{path.absolute()} {stat.st_ino} {stat.st_size} {times} {how}")
        if name not in self._found:
            self._found[name] = hashed()
            self._new = True
        return self._found[name]


def given_of(study: Study, job: Job, made: Container[Path], hashes: Hashes) -> dict[str, Any]:
    """What a result is made from, but for what other jobs write: command, given files and versions of packages."""
    files = {str(path): hashes.of_file(path) for path in job.reads if path not in made}
    if job.source:
        files[str(job.source.get("input", "synthetic"))] = hashes.of_source(job.source).sha256
    if job.images:
        files[f"images of {job.images['input']}"] = hashes.of_images(job.images)

    def stand_in(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: stand_in(item) for name, item in sorted(value.items())}
        if isinstance(value, list | tuple):
            return [stand_in(item) for item in value]
        if isinstance(value, Path) and value.is_relative_to(study.run_dir):
            return f"RUN/{value.relative_to(study.run_dir)}"
        return files.get(str(value), value if isinstance(value, int | float | None) else str(value))

    versions = package_versions()
    return {
        "command": stand_in([job.command, job.keys, job.around]),
        "files": files,
        "versions": {name: versions[name] for name in ("radtune", *job.packages) if name in versions},
    }


def made_of(study: Study, job: Job, made: Container[Path]) -> dict[str, str]:
    """The content of what a job reads that other jobs write."""
    return {str(path.relative_to(study.run_dir)): sha256_file(path) for path in job.reads if path in made}


def stamp_path(study: Study, job: str) -> Path:
    """Where a job notes what its result was made from."""
    return study.run_dir / "made_from" / f"{job.replace('/', '.')}.json"


def failures_of(study: Study, job: str) -> int:
    """How often a job began and did not come through.

    Snakemake then gives back what it had written before, and takes that for what it was to write: this tells otherwise.
    """
    path = stamp_path(study, job).with_suffix(".failures")
    return path.stat().st_size if path.exists() else 0


def write_failures(study: Study, job: str, failures: int) -> None:
    """Notes them."""
    path = stamp_path(study, job).with_suffix(".failures")
    if failures:
        write_bytes(path, b"." * failures)
    else:
        path.unlink(missing_ok=True)


def read_stamp(path: Path) -> dict[str, Any]:
    """What a result was made from; nothing, where that is not known."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if found.keys() - _BESIDE == {"command", "files", "versions", "made"} else {}
    except (OSError, ValueError, AttributeError):
        return {}


def fingerprint(made_from: Mapping[str, Any]) -> str:
    """Equal for results that are made from the same, wherever it stands."""
    parts = {name: part for name, part in made_from.items() if name not in _BESIDE}
    parts |= {"files": sorted(made_from["files"].values())} if made_from else {}
    return sha256_text(json.dumps(parts, sort_keys=True))


def stale(study: Study, made_from: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Which results are made from something else than there is now, a line for each thing that has changed."""
    found: dict[str, list[str]] = {}
    commit, others = git_commit(), list[str]()
    for job, now in made_from.items():
        before = read_stamp(stamp_path(study, job))
        if before and fingerprint({name: before[name] for name in now}) != fingerprint(now):
            found.setdefault(", ".join(_changes(before, now)), []).append(job)
        elif commit and before.get("commit", commit) != commit:
            others.append(before["commit"])
    kept = f"of the results that are kept, {len(others)} were made by other states of radtune's code"
    named = ", ".join(sorted({f"{one:.12}" for one in others}))
    return [f"{kept} ({named}): delete those that it should make anew"] * bool(others) + [
        f"{what}: changed since {len(jobs)} results were made, which are stale and made anew: {', '.join(jobs)}"
        for what, jobs in found.items()
    ]


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What has changed, in words: files by name, packages by version, else the study's settings."""
    old, versions = before["files"], before["versions"]
    files = [path for path, sha in now["files"].items() if sha not in old.values()]
    files += [path for path, sha in old.items() if sha not in now["files"].values() and path not in files]
    packages = [f"{name} {versions.get(name)} to {v}" for name, v in now["versions"].items() if versions.get(name) != v]
    return files + packages or ["the study's settings"]
