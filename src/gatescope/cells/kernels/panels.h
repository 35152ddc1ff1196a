// Weights packed in the order in which a product reads them: panels of a few vectors of columns, row after row.
#pragma once
#include <algorithm>
#include <type_traits>
#include <vector>

#include "simd.h"

constexpr int PANEL = 4;  // largest number of vectors in a panel

template <class S> int64_t vectors(int64_t width) { return (width + Simd<S>::lanes - 1) / Simd<S>::lanes; }

INLINE int lanes_at(int64_t width, int64_t column, int lanes) { return int(std::min<int64_t>(lanes, width - column)); }

// Calls then(vectors of the panel as a constant, its first column) for every panel of `width` columns.
template <class S, int most, class Then> INLINE void each_panel(int64_t width, Then then) {
  for (int64_t block = 0; block < vectors<S>(width); block += most) {
    const int64_t side = std::min<int64_t>(most, vectors<S>(width) - block), column = block * Simd<S>::lanes;
    if (side == 1) then(std::integral_constant<int, 1>(), column);
    if constexpr (most > 1)
      if (side == 2) then(std::integral_constant<int, 2>(), column);
    if constexpr (most > 2)
      if (side == 3) then(std::integral_constant<int, 3>(), column);
    if constexpr (most > 3)
      if (side == 4) then(std::integral_constant<int, 4>(), column);
  }
}

// Vectors of units in a panel of the forward pass. A panel holds all chunks of its units, so that their step can run
// as soon as the product is done.
template <class A> constexpr int blocks_of = A::chunks == 1 ? PANEL : 1;

// Packs weights (chunks·H, depth) for a product with their transpose.
template <class S, class A> S *pack_forward(const S *weights, int64_t H, int64_t depth, S *to) {
  constexpr int lanes = Simd<S>::lanes;
  each_panel<S, blocks_of<A>>(H, [&](auto side, int64_t start) {
    const int64_t columns = A::chunks * side * lanes;
    for (int64_t column = 0; column < columns; column++) {
      const int64_t chunk = column / (side * lanes), unit = start + column % (side * lanes);
      const S *row = weights + (chunk * H + unit) * depth;
      for (int64_t k = 0; k < depth; k++) to[k * columns + column] = unit < H ? row[k] : S(0);
    }
    to += depth * columns;
  });
  return to;
}

// Packs weights (rows, width) for a product with themselves.
template <class S> S *pack_backward(const S *weights, int64_t rows, int64_t width, S *to) {
  constexpr int lanes = Simd<S>::lanes;
  each_panel<S, PANEL>(width, [&](auto side, int64_t start) {
    for (int64_t k = 0; k < rows; k++)
      for (int64_t column = start; column < start + side * lanes; column++)
        *to++ = column < width ? weights[k * width + column] : S(0);
  });
  return to;
}

// Packs `V` vectors of columns from `from` on, with `last` lanes in the last one, of rows anywhere in memory.
template <class S, int V> void pack_rows(const std::vector<const S *> &rows, int64_t from, int last, S *to) {
  constexpr int lanes = Simd<S>::lanes;
  for (const S *row : rows)
    for (int v = 0; v < V; v++, to += lanes)
      *reinterpret_cast<typename Simd<S>::Aligned *>(to) = load<S>(row + from + v * lanes, v == V - 1 ? last : lanes);
}

// Returns at least `count` numbers, aligned to vectors.
template <class S> S *aligned_buffer(std::vector<Vec<S>> &buffer, size_t count) {
  const size_t needed = (count + Simd<S>::lanes - 1) / Simd<S>::lanes;
  if (buffer.size() < needed) buffer.resize(needed);
  return reinterpret_cast<S *>(buffer.data());
}

// Sizes of the packed copies of `pack_forward` and `pack_backward`.
template <class S> int64_t packed_forward_size(int64_t chunks, int64_t H, int64_t depth) {
  return chunks * depth * vectors<S>(H) * Simd<S>::lanes;
}

template <class S> int64_t packed_backward_size(int64_t rows, int64_t width) {
  return rows * vectors<S>(width) * Simd<S>::lanes;
}
