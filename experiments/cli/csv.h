// Comma-separated values (RFC 4180, with line feeds alone), as pandas and R read them.
#pragma once

#include <string>
#include <vector>

namespace headscope::experiments::cli {

/// The cells with commas between and a line feed behind; a cell is quoted where it must be.
std::string csv_line(const std::vector<std::string>& cells);

/// The shortest digits that read back as the same number; empty for NaN.
std::string csv_number(double value);

}  // namespace headscope::experiments::cli
