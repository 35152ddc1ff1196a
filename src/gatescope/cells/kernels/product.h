// Products of (rows, K) with packed weights (K, N) in registers. The order of the sum over K does not depend on the
// number of rows, so a row's result does not depend on other rows or on threads.
#pragma once
#include <type_traits>

#include "simd.h"

// Number of rows whose sums fit the registers together with `V` vectors of weights.
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

// The parts of a row that a product reads: `depth` numbers, and then `depth2` numbers from `skip2` on.
struct Shape {
  int64_t depth, skip2, depth2;
};

// Calls then(i, sums of row i) for each of `M` rows.
template <class S, int V, int M, class Then>
INLINE void tile_of(const S *const *rows, int first, const S *panel, const Shape &shape, Then &then) {
  Vec<S> sums[M][V] = {};
  multiply<S, M, V>(rows + first, 0, panel, shape.depth, sums);
  if (shape.depth2) multiply<S, M, V>(rows + first, shape.skip2, panel, shape.depth2, sums);
  Vec<S> results[M][V];
  std::memcpy(results, sums, sizeof sums);
  // Not unrolled, so that the code of `then` exists once; the copy keeps the sums in registers.
#pragma GCC unroll 1
  for (int m = 0; m < M; m++) then(first + m, results[m]);
}

// Calls then(size as a constant), for a size of 1 … most.
template <int most, class Then> INLINE void as_constant(int64_t size, Then then) {
  if constexpr (most > 0) {
    if (size == most)
      then(std::integral_constant<int, most>());
    else
      as_constant<most - 1>(size, then);
  }
}

// Calls then(rows of the tile as a constant, its first row) for all tiles of `count` rows.
template <int V, class Then> INLINE void each_tile(int64_t count, Then then) {
  for (int64_t first = 0, size; first < count; first += size) {
    const int64_t remaining = count - first, tiles = (remaining + tile<V> - 1) / tile<V>;
    size = (remaining + tiles - 1) / tiles;
    as_constant<tile<V>>(size, [&](auto rows) { then(rows, first); });
  }
}

// Calls then(i, sums of row i) for each of `count` rows. Tiles have nearly equal sizes: a small last one would be
// bound by loading the weights.
template <class S, int V, class Then>
void product(const S *const *rows, int count, const S *panel, const Shape &shape, Then then) {
  each_tile<V>(count, [&](auto size, int64_t first) { tile_of<S, V, size>(rows, int(first), panel, shape, then); });
}

// out[m] += Σ_k a[k][row + m] · panel[k], for M rows `width` apart and V vectors, the last with `last` lanes.
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
