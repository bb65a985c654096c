// Standard input, output and error, which may be closed, full, or read by nobody any more.
#pragma once

namespace headscope::experiments::cli {

/// Puts /dev/null in the place of those that are closed. Else the next file that is opened gets the number, and what is
/// printed goes into a checkpoint.
void open_closed_streams();

/// Throws IoError when something that was printed to standard output did not get there.
void require_output();

}  // namespace headscope::experiments::cli
