// The base of every error that headscope throws on purpose.
//
// A message has the form `op: what is wrong; the shapes in question; the mend`, for example
//   matmul: the inner sizes differ; a is [2, 10, 512], b is [2, 64, 10]; transpose one of them
#pragma once

#include <stdexcept>
#include <string>

namespace headscope {

class Error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

}  // namespace headscope
