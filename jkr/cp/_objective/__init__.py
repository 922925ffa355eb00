"""What a fit minimises: losses of a model (`cp.loss`), and the objective that is built of them.

The losses and constraints themselves are public, `jkr.cp.losses` and `jkr.cp.constraints`.
"""
