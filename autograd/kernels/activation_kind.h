// Which activation function.
#pragma once

namespace headscope {

enum class Activation { gelu, relu, silu };

}  // namespace headscope
