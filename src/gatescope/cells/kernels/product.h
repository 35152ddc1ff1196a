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
    for (int v = 0; v < V; v++) w[v] = *reinterpret_cast<const typename Simd<S>::Unaligned *>(panel + v * lanes);
#pragma GCC unroll 24
    for (int m = 0; m < M; m++)
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) sums[m][v] += a[m][k] * w[v];
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

// then(left as a constant), where there are any, and no more than `most`.
template <int most, class Then> INLINE void as_constant(int64_t left, Then then) {
  if constexpr (most > 0) {
    if (left == most)
      then(std::integral_constant<int, most>());
    else
      as_constant<most - 1>(left, then);
  }
}

template <class S, int V, class Then>
void product(const S *const *rows, int count, const S *panel, const Shape &shape, Then then) {
  int first = 0;
  for (; first + tile<V> <= count; first += tile<V>) tile_of<S, V, tile<V>>(rows, first, panel, shape, then);
  as_constant<tile<V> - 1>(count - first, [&](auto left) { tile_of<S, V, left>(rows, first, panel, shape, then); });
}

// out (…, width apart) += Σ_k a[k][row] · b[k][column], for M rows and V vectors of columns, `last` of the last one.
template <class S, int M, int V>
INLINE void outer_tile(const S *const *a, const S *const *b, int64_t count, int64_t row, int64_t column, S *out,
                       int64_t width, int last) {
  constexpr int lanes = Simd<S>::lanes;
  Vec<S> sums[M][V] = {};
  for (int64_t k = 0; k < count; k++) {
    const S *of_a = a[k] + row, *of_b = b[k] + column;
    Vec<S> w[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) w[v] = *reinterpret_cast<const typename Simd<S>::Unaligned *>(of_b + v * lanes);
#pragma GCC unroll 24
    for (int m = 0; m < M; m++)
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) sums[m][v] += of_a[m] * w[v];
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

// out (rows, V vectors of columns) += aᵀ b over `count` rows of both. All of b's vectors are read in full: there
// must be room for one behind its last row.
template <class S, int V>
void outer(const S *const *a, const S *const *b, int64_t count, int64_t rows, int64_t column, S *out, int64_t width,
           int last) {
  int64_t row = 0;
  for (; row + tile<V> <= rows; row += tile<V>)
    outer_tile<S, tile<V>, V>(a, b, count, row, column, out + row * width, width, last);
  as_constant<tile<V> - 1>(rows - row, [&](auto left) {
    outer_tile<S, left, V>(a, b, count, row, column, out + row * width, width, last);
  });
}
