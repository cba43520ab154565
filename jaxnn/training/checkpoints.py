"""Checkpoints of a run, by Orbax: everything that it needs to go on exactly as if nothing had happened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from errno import EACCES
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.ops import checks
from jaxnn.ops.checks import refusal
from jaxnn.params import is_key
from jaxnn.paths import by_path, leaves_by_path

FORMAT = 1


@dataclass(frozen=True)
class Checkpoints:
    """Where and how often ``fit(checkpoint=…)`` saves a run.

    Args:
      folder: of the checkpoints, one subfolder each; it is created. Or a ``CheckpointManager`` of Orbax,
        whose own rules say which are kept; the run does not close it.
      every: steps between two of them, or a few more, in the middle of an epoch too; None: only after each
        epoch, on Ctrl-C, on SIGTERM and when a callback raises.
      keep: how many of the latest are kept, in a folder. The best params of a run with ``best=`` are in each
        of them.

    Raises:
      TypeError, ValueError: an argument that is not as said above.
    """

    folder: Any
    every: int | None = None
    keep: int = 3

    def __post_init__(self) -> None:
        owner = "Checkpoints"
        if not isinstance(self.folder, str | Path) and not hasattr(self.folder, "latest_step"):
            raise TypeError(refusal(owner, "folder", "a path or a CheckpointManager of Orbax", self.folder))
        if self.every is not None:
            checks.integer(owner, "every", self.every, least=1)
        checks.integer(owner, "keep", self.keep, least=1)


class SaveFailed(OSError):
    """A checkpoint could not be written."""


class Saver:
    """The checkpoints of a run, in Orbax's ``CheckpointManager``.

    ``several``: whether the arrays are those of several processes, which then save together or not at all.
    """

    def __init__(self, owner: str, checkpoint: Any, settings: Mapping[str, Any], several: bool = False):
        self.owner, self.settings, self.several = owner, dict(settings), several
        self.orbax: Any = _orbax(owner)
        if not isinstance(checkpoint, Checkpoints | str | Path | self.orbax.CheckpointManager):
            wanted = "a folder, Checkpoints(folder), or Orbax's CheckpointManager"
            raise TypeError(refusal(owner, "checkpoint", wanted, checkpoint))
        rule = checkpoint if isinstance(checkpoint, Checkpoints) else Checkpoints(checkpoint)
        self.every = rule.every
        self.ours = isinstance(rule.folder, str | Path)
        if self.ours and jax.process_count() > 1 and not several:
            raise ValueError(
                f"{owner}: checkpoint must be a CheckpointManager of Orbax with active_processes where each "
                f"of several processes trains alone, or sharding given, over all devices, got {rule.folder}"
            )
        self.manager = self._manager(rule) if self.ours else rule.folder
        self.saved: int | None = self.manager.latest_step()
        self.latest = self.saved  #: tried

    def record(self) -> dict[str, Any] | None:
        """What the latest checkpoint says of its run; None if there is none. Raises if it is of another."""
        if self.saved is None:
            return None
        found = dict(self._read(run=self.orbax.args.JsonRestore())["run"])
        there, here = found["settings"], _plain(self.settings)
        for name, value in here.items():
            if there.get(name) != value:
                raise ValueError(
                    f"{self.owner}: checkpoint must be of a run with the same {name}, got one of "
                    f"{there.get(name)} for one of {value}; another run needs another folder"
                )
        return found

    def restore(self, tree: Any, arrays: Mapping[str, str]) -> Any:
        """The arrays of the latest checkpoint in the places, and on the devices, of those of ``tree``.

        Args:
          tree: of the same structure.
          arrays: what the record says of the arrays, by path.
        """
        here = _described(tree)
        for path in sorted({*here, *arrays}):
            if here.get(path) != arrays.get(path):
                raise ValueError(
                    f"{self.owner}: checkpoint must be of the same net and optimiser, got one where "
                    f"{path} is {arrays.get(path, 'missing')}, not {here.get(path, 'missing')}"
                )
        like = {path: _like(leaf) for path, leaf in _saved(tree).items()}
        found = self._read(arrays=self.orbax.args.StandardRestore(like))["arrays"]
        return by_path(lambda path, leaf: _placed(found[path], leaf) if path in found else leaf, tree)

    def _read(self, **items: Any) -> Any:
        try:
            return self.manager.restore(self.saved, args=self.orbax.args.Composite(**items))
        except Exception as error:
            folder = f"{self.manager.directory}/{self.saved}"
            raise ValueError(
                f"{self.owner}: checkpoint must be of a run of fit, got {folder}, which can't be read: "
                f"{error}; without that folder the run goes on from the one before it, or begins anew"
            ) from error

    def save(self, step: int, tree: Any, record: Mapping[str, Any], *, wait: bool = False) -> None:
        """Saves the run after ``step`` steps, in the background unless it is to be waited for."""
        args = self.orbax.args
        try:
            if self.saved != step:
                record = {"format": FORMAT, "settings": self.settings, "arrays": _described(tree), **record}
                arrays = {
                    path: jnp.copy(leaf) for path, leaf in _saved(tree).items()
                }  # the next step takes these
                content = {"arrays": args.StandardSave(arrays), "run": args.JsonSave(_plain(record))}
                self.latest = step
                self.manager.save(step, args=args.Composite(**content), force=True)
                self.saved = step
            if wait:
                self.manager.wait_until_finished()
        except Exception as error:
            raise self._failed(error) from error

    def is_told_to_leave(self, step: int) -> bool:
        """Whether a SIGTERM came to one of several processes, and all of them end after this step.

        JAX's preemption service agrees on the step; each process asks after each step.
        """
        return self.several and bool(self.manager.reached_preemption(step))

    def _failed(self, error: Exception) -> SaveFailed:
        return SaveFailed(
            f"{self.owner}: checkpoint: the run could not be saved after step {self.latest} in "
            f"{self.manager.directory}: {error}; those saved before are untouched"
        )

    def close(self) -> None:
        """Waits for what is being saved."""
        try:
            self.manager.wait_until_finished()
        except Exception as error:
            raise self._failed(error) from error
        finally:
            if self.ours:
                self.manager.close()

    def _manager(self, rule: Checkpoints) -> Any:
        folder = Path(rule.folder).absolute()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(EACCES, os.strerror(EACCES), str(folder))
            return self.orbax.CheckpointManager(
                folder,
                options=self.orbax.CheckpointManagerOptions(max_to_keep=rule.keep, create=True),
                item_names=("arrays", "run"),
            )
        except OSError as error:
            wanted = "a folder that can be written"
            raise OSError(
                refusal(self.owner, "checkpoint", wanted, str(rule.folder)) + f": {error}"
            ) from error


def _orbax(owner: str) -> Any:
    try:
        import orbax.checkpoint as orbax
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{owner}: checkpoint needs Orbax: pip install 'jaxnn-functional[checkpoint]'"
        ) from error
    return orbax


def _saved(tree: Any) -> dict[str, Any]:
    """The arrays to be saved, by path: keys as their words, and none without values, which Orbax refuses."""
    return {path: words(leaf) for path, leaf in leaves_by_path(tree).items() if np.size(leaf)}


def _described(tree: Any) -> dict[str, str]:
    return {
        path: f"{jnp.asarray(leaf).dtype}[{','.join(map(str, np.shape(leaf)))}]"
        for path, leaf in leaves_by_path(tree).items()
    }


def words(leaf: Any) -> Any:
    """A key as the words that it is made of, anything else as it is."""
    return jax.random.key_data(leaf) if is_key(leaf) else leaf


def _placed(found: Any, leaf: Any) -> Any:
    return jax.random.wrap_key_data(found, impl=jax.random.key_impl(leaf)) if is_key(leaf) else found


def _like(leaf: Any) -> Any:
    leaf = jnp.asarray(leaf)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _plain(value: Any) -> Any:
    """The same in what JSON has."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic | jax.Array) else value
