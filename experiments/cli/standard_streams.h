// Standard input, output and error: closed streams, and output that could not be written.
#pragma once

namespace headscope::experiments::cli {

/// Opens /dev/null for each of the three that is closed. Otherwise the next file that is opened would get its number,
/// and printed text would go into that file, such as a checkpoint.
void open_closed_streams();

/// Throws IoError when something printed to standard output could not be written.
void require_output();

}  // namespace headscope::experiments::cli
