"""Command line: `python -m jkr demo`, `python -m jkr fit FILE --rank R`.

Reads, fits, prints, writes; the computing is all in the library. Errors of the user's are one
line and exit status 1; files are written beside their place and then moved there, so that none
is ever half written.
"""

import argparse
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np

import jkr
from jkr import cp, datasets
from jkr.cp._fit._result import NOT_FINITE
from jkr.cp._model._files import named, replace

_EVERY = 10  # steps between two progress lines


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m jkr", description="CP models of tensors")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="fit and draw the bundled serology tensor")
    demo.add_argument("--rank", type=int, default=2, help="number of components")
    demo.add_argument("--plot", type=Path, default=Path("jkr-demo-factors.png"), help="the picture")
    fit = commands.add_parser("fit", help="fit a tensor of your own")
    fit.add_argument("file", type=Path, help=".npy, or .npz")
    fit.add_argument("--rank", type=int, required=True, help="number of components")
    fit.add_argument("--array", help="which array of an .npz with several")
    fit.add_argument("--out", type=Path, help="write weights and factors to this .npz")
    fit.add_argument("--plot", type=Path, help="write a figure of the factors to this file")
    for command in (demo, fit):
        command.add_argument("--seed", type=int, default=1, help="of the random start")
        command.add_argument("--restarts", type=int, default=5, help="the best of so many starts")
        command.add_argument("--nonnegative", action="store_true", help="factors at least 0")
        command.add_argument("--tol", type=float, default=1e-9, help="largest stationarity")
        command.add_argument("--max-iters", type=int, default=200, help="largest step count")
    options = parser.parse_args(arguments)
    try:
        _demo(options) if options.command == "demo" else _fit(options)
    except (OSError, OverflowError, ValueError, ModuleNotFoundError) as error:
        sys.exit(f"jkr: {error}")
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        sys.exit(f"jkr: out of memory or failed in JAX: {str(error).splitlines()[0]}")
    except KeyboardInterrupt:
        sys.exit("jkr: interrupted")


def _demo(options: argparse.Namespace) -> None:
    _check_plot(options.plot)
    data = datasets.covid19_serology()
    sizes = " × ".join(f"{d} {m}" for d, m in zip(data.tensor.shape, data.modes, strict=True))
    print(f"COVID-19 serology, {sizes}\n{data.reference}\n")
    result = _fitted(data.tensor, options)
    _print_components(result.cp, data.modes, data.labels)
    _write_plot(
        options.plot,
        result,
        f"COVID-19 serology, rank {options.rank}, fit {float(result.fit):.3f}",
        modes=data.modes,
        labels=data.labels,
        ordered=data.ordered,
    )


def _fit(options: argparse.Namespace) -> None:
    tensor = _read(options.file, options.array)
    if options.plot:
        _check_plot(options.plot)
    if options.out:
        _check_folder(options.out)
    result = _fitted(tensor, options)
    if options.out:
        arrays: dict[str, Any] = named("fit", result.cp) | {"fit": np.asarray(result.fit)}
        _write(options.out, lambda file: np.savez(file, **arrays))
    if options.plot:
        title = f"{options.file.name}, rank {options.rank}, fit {float(result.fit):.3f}"
        _write_plot(options.plot, result, title)


def _read(path: Path, name: str | None) -> np.ndarray:
    """The tensor in an .npy or .npz file, without pickle, numeric; NaN marks what is missing."""
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            array = loaded if isinstance(loaded, np.ndarray) else _pick(loaded, name)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        why = "it is no .npy or .npz file" if "pickled" in str(error) else error
        raise ValueError(f"{path} could not be read: {why}") from error
    if name is not None and isinstance(loaded, np.ndarray):
        raise ValueError(f"{path} holds one array without a name: leave out --array")
    if array.dtype.kind not in "biufc":
        raise ValueError(f"{path} holds {array.dtype} entries, and a tensor of numbers is needed")
    if array.size == 0:
        raise ValueError(f"{path} holds an empty array, of shape {array.shape}")
    if np.isinf(array).any() or np.isnan(array).all():
        raise ValueError(f"{path} holds inf, or nothing but NaN (NaN marks a missing entry)")
    return array


def _pick(archive: Any, name: str | None) -> np.ndarray:
    names = archive.files
    if name is None and len(names) == 1:
        name = names[0]
    if name is None and {"weights", "factor_0"} <= set(names):
        raise ValueError("it is a model, not a tensor: jkr.cp.load reads it")
    if name not in names:
        raise ValueError(f"choose one of its arrays with --array: {', '.join(names)}")
    return archive[name]


def _fitted(tensor: np.ndarray, options: argparse.Namespace) -> cp.CPResult:
    """Fit with a progress line; NaN entries are missing."""
    if options.max_iters < 1:
        raise ValueError(f"--max-iters needs to be at least 1, got {options.max_iters}")
    print(f"shape {tensor.shape}, rank {options.rank}")
    observed = ~np.isnan(tensor)
    if not observed.all():
        missing = tensor.size - int(observed.sum())
        print(f"{missing} of {tensor.size} entries are missing (NaN)")
    shown = sys.stderr.isatty()

    def report(state: cp.NLSState) -> None:
        steps = int(state.iteration)
        if steps % _EVERY == 0:
            line = f"{steps:5d} steps   objective {float(state.objective):.6g}"
            print(f"\r{line}", end="", file=sys.stderr, flush=True) if shown else print(line)

    result = cp.fit(
        tensor,
        options.rank,
        key=jax.random.key(options.seed),
        entry_weights=None if observed.all() else observed,
        nonnegative=options.nonnegative,
        restarts=options.restarts,
        tol=options.tol,
        max_iters=options.max_iters,
        callback=report,
    )
    if shown:
        print(file=sys.stderr)
    if int(result.status) == NOT_FINITE:
        raise ValueError(result.message)
    steps = int(result.iterations)
    print(f"{result.message}\nfit {float(result.fit):.6f} after {steps} steps\n")
    return result


def _print_components(
    model: cp.CPTensor, modes: tuple[str, ...], labels: tuple[tuple[str, ...], ...], top: int = 3
) -> None:
    """Each component's weight and, mode by mode, its largest loadings with their labels."""
    weights, factors = model.arrange()
    for r in range(model.rank):
        print(f"component {r + 1}, weight {float(weights[r]):.4g}")
        for mode, names, factor in zip(modes, labels, factors, strict=True):
            column = np.asarray(factor[:, r])
            largest = np.argsort(-abs(column))[:top]
            loadings = ", ".join(
                f"{names[i]}{'' if len(set(names)) == len(names) else f' #{i}'} {column[i]:+.2f}"
                for i in largest
            )
            print(f"  {mode:10s} {loadings}")
    print()


def _check_plot(path: Path) -> None:
    """Say before the fit, not after it, that no figure can be drawn or written so."""
    _check_folder(path)
    figure = jkr.plot.Figure()
    kinds = figure.canvas.get_supported_filetypes()
    if path.suffix and path.suffix.removeprefix(".") not in kinds:
        raise ValueError(f"--plot: a file ending in one of {', '.join(kinds)}, got {path.name}")


def _check_folder(path: Path) -> None:
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ValueError(f"cannot write {path}: no such folder, or a folder itself")


def _write_plot(path: Path, result: cp.CPResult, title: str, **axes: Any) -> None:
    figure = jkr.plot.factors(result.cp, title=title, **axes)
    suffix = path.suffix.removeprefix(".") or "png"
    _write(path, lambda file: figure.savefig(file, format=suffix, dpi=120))


def _write(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    replace(path, write)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
