// A series of numbers in a few characters.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace headscope::experiments::cli {

inline constexpr std::size_t sparkline_columns = 10;

/// Numbers that are not negative as ▁▂▃▄▅▆▇█ on the scale from 0 to the highest character: one per value, or, when
/// there are more than sparkline_columns, one per bucket of neighbours, their mean. Values that are not finite count as
/// not measured; '·' stands where nothing was measured.
std::string sparkline(std::span<const double> values);

}  // namespace headscope::experiments::cli
