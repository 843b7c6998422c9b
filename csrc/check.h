// How the C++ side refuses: an exception, RuntimeError in Python, whose text begins with
// "torchconv: " rather than with a function, a file and a line of ours.
#pragma once

#include <sstream>
#include <stdexcept>

namespace torchconv {

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream text;
  text << "torchconv: ";
  ((text << parts), ...);
  throw std::runtime_error(text.str());
}

template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (!condition) fail(parts...);
}

}  // namespace torchconv
