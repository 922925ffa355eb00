"""How a fit is made: algorithms, each an `init` and a `step` on an objective."""
