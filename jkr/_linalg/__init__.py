"""Small matrices: what every contraction and every fit does with Grams, columns and systems.

- `_dtypes`: dtypes of operands and of sums; `_small`: products, Grams, Hadamard products of others;
- `_norms`: Euclidean norms with finite derivatives (R6);
- `_psd`: small semi-definite systems, minimum norm (R3); `_definite`: positive definite ones of any
  size, with a flag for those that are not;
- `_hals`, `_admm`: the same with nonnegative solutions, and with any proximal operator;
- `_prox`: nearest points and soft thresholds;
- `_tangent_space`: the Gram matrix of the tangent vectors of a CP model, and the gauge;
- `_cg`: large symmetric systems, known by their products; `_lobpcg`: their weakest direction;
- `_order`: what is done before something else is;
- `_loops`: loops and branches, inside `jax.shard_map` too;
- `_tangents`: what derivative rules ask of tangents; derivatives of elementwise functions.
"""
