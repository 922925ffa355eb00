"""Command line: `python -m jkr demo`, `python -m jkr fit FILE --rank R`.

Reads, fits, prints, writes; the computing is all in the library. Errors of the user's are one
line and exit status 1; files are written beside their place and then moved there, so that none
is ever half written.
"""

import argparse
import sys
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np

import jkr
from jkr import cp, datasets, io, tensors
from jkr.cp import losses
from jkr.cp._fit._result import NOT_FINITE
from jkr.cp._model._files import named, replace

_EVERY = 10  # steps between two progress lines
_LOSSES = [n for n in losses.__all__ if isinstance(getattr(losses, n), losses.Loss)]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m jkr", description="CP models of tensors")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="fit and draw the bundled serology tensor")
    demo.add_argument("--rank", type=int, default=2, help="number of components")
    demo.add_argument("--plot", type=Path, default=Path("jkr-demo-factors.png"), help="the picture")
    fit = commands.add_parser("fit", help="fit a tensor of your own")
    fit.add_argument("file", type=Path, help=".npy, .npz, .tns, or text of Tensor Toolbox")
    fit.add_argument("--rank", type=int, required=True, help="number of components")
    fit.add_argument("--array", help="which array of an .npz with several")
    fit.add_argument(
        "--unstored", choices=("zero", "missing"), help="what a sparse file does not store"
    )
    fit.add_argument("--shape", type=int, nargs="+", help="of a sparse file that does not say it")
    fit.add_argument("--loss", choices=_LOSSES, default="gaussian", help="of jkr.cp.losses")
    demo.set_defaults(loss="gaussian")
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
    tensor = _read(options)
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


def _read(options: argparse.Namespace) -> np.ndarray | tensors.Sparse:
    """The tensor in a file of any kind that `jkr.io` knows."""
    found = io.read(
        options.file, unstored=options.unstored, array=options.array, shape=options.shape
    )
    if isinstance(found, cp.CPTensor):
        raise ValueError(f"{options.file} holds a model, not a tensor: jkr.io.read reads it")
    return found


def _fitted(tensor: np.ndarray | tensors.Sparse, options: argparse.Namespace) -> cp.CPResult:
    """Fit with a progress line; NaN entries are missing."""
    if options.max_iters < 1:
        raise ValueError(f"--max-iters needs to be at least 1, got {options.max_iters}")
    print(f"shape {tensor.shape}, rank {options.rank}")
    observed = _observed(tensor)
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
        entry_weights=observed,
        loss=getattr(losses, options.loss),
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


def _observed(tensor: np.ndarray | tensors.Sparse) -> np.ndarray | None:
    """Say what is not there, and which entries of an array are, if not all."""
    if isinstance(tensor, tensors.Sparse):
        count, others = len(tensor.values), tensor.unstored
        print(f"{count} of {prod(tensor.shape)} entries are stored, the others are {others}")
        return None
    observed = ~np.isnan(tensor)
    if observed.all():
        return None
    missing = tensor.size - int(observed.sum())
    print(f"{missing} of {tensor.size} entries are missing (NaN)")
    return observed


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
