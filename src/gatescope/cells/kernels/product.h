// (rows, K) times packed weights (K, N) in registers. The sum over K runs in one order whatever the number of
// rows, so that a row's result does not depend on which rows, or threads, go beside it.
#pragma once
#include <type_traits>

#include "simd.h"

// Rows whose sums fit the registers beside `V` vectors of weights.
template <int V> constexpr int tile = ACCUMULATORS / V < 8 ? ACCUMULATORS / V : 8;

// Adds `rows[m]` (K,) times `panel` (K, V vectors) to sums[m].
template <class S, int M, int V>
INLINE void multiply(const S *const *rows, int64_t skip, const S *&panel, int64_t depth, Vec<S> (&sums)[M][V]) {
  constexpr int lanes = Simd<S>::lanes;
  const S *a[M];
#pragma GCC unroll 24
  for (int m = 0; m < M; m++) a[m] = rows[m] + skip;
  for (int64_t k = 0; k < depth; k++, panel += V * lanes) {
    Vec<S> w[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) w[v] = *reinterpret_cast<const typename Simd<S>::Aligned *>(panel + v * lanes);
#pragma GCC unroll 24
    for (int m = 0; m < M; m++)
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) sums[m][v] = multiply_add<S>(Vec<S>{} + a[m][k], w[v], sums[m][v]);
  }
}

// A row of A that the product reads in up to two pieces: `depth` numbers, and `depth2` after `skip2`.
struct Shape {
  int64_t depth, skip2, depth2;
};

// then(i, sums of row i), for each of `count` rows.
template <class S, int V, int M, class Then>
INLINE void tile_of(const S *const *rows, int first, const S *panel, const Shape &shape, Then &then) {
  Vec<S> sums[M][V] = {};
  multiply<S, M, V>(rows + first, 0, panel, shape.depth, sums);
  if (shape.depth2) multiply<S, M, V>(rows + first, shape.skip2, panel, shape.depth2, sums);
  Vec<S> found[M][V];
  std::memcpy(found, sums, sizeof sums);
  // One copy of the step's code for all rows, behind a barrier that keeps the sums themselves in registers.
#pragma GCC unroll 1
  for (int m = 0; m < M; m++) then(first + m, found[m]);
}

// then(size as a constant), of 1 … most.
template <int most, class Then> INLINE void as_constant(int64_t size, Then then) {
  if constexpr (most > 0) {
    if (size == most)
      then(std::integral_constant<int, most>());
    else
      as_constant<most - 1>(size, then);
  }
}

// then(rows of the tile as a constant, its first row), for tiles of `count` rows beside `V` vectors.
template <int V, class Then> INLINE void each_tile(int64_t count, Then then) {
  for (int64_t first = 0, size; first < count; first += size) {
    const int64_t left = count - first, tiles = (left + tile<V> - 1) / tile<V>;
    size = (left + tiles - 1) / tiles;
    as_constant<tile<V>>(size, [&](auto rows) { then(rows, first); });
  }
}

// Rows go in tiles of nearly the same size: a small one at the end would wait for its weights.
template <class S, int V, class Then>
void product(const S *const *rows, int count, const S *panel, const Shape &shape, Then then) {
  each_tile<V>(count, [&](auto size, int64_t first) { tile_of<S, V, size>(rows, int(first), panel, shape, then); });
}

// out (M, …, width apart) += Σ_k a[k][row] · panel (k, V vectors); `last` lanes of the last vector are there.
template <class S, int M, int V>
INLINE void outer_tile(const S *const *a, const S *panel, int64_t count, int64_t row, S *out, int64_t width, int last) {
  constexpr int lanes = Simd<S>::lanes;
  Vec<S> sums[M][V] = {};
#pragma GCC unroll 24
  for (int m = 0; m < M; m++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) __builtin_prefetch(out + m * width + v * lanes, 1);
  for (int64_t k = 0; k < count; k++, panel += V * lanes) {
    const S *of_a = a[k] + row;
    Vec<S> w[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) w[v] = *reinterpret_cast<const typename Simd<S>::Aligned *>(panel + v * lanes);
#pragma GCC unroll 24
    for (int m = 0; m < M; m++)
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) sums[m][v] = multiply_add<S>(Vec<S>{} + of_a[m], w[v], sums[m][v]);
  }
#pragma GCC unroll 24
  for (int m = 0; m < M; m++)
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) {
      S *to = out + m * width + v * lanes;
      const int some = v == V - 1 ? last : lanes;
      store<S>(to, load<S>(to, some) + sums[m][v], some);
    }
}

// out (rows, V vectors of columns) += aᵀ panel over the `count` rows of both.
template <class S, int V>
void outer(const S *const *a, const S *panel, int64_t count, int64_t rows, S *out, int64_t width, int last) {
  each_tile<V>(rows, [&](auto size, int64_t row) {
    outer_tile<S, size, V>(a, panel, count, row, out + row * width, width, last);
  });
}
