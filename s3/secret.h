// Secret: a string that must not be seen. Wiped when it dies, cannot be printed or logged (there is
// no formatter and no stream operator), and is read only where a request is signed.
//
// A value: copies are independent and wiped each. Not synchronised.
#pragma once

#include <string>
#include <string_view>
#include <utility>

namespace cairn {

// Overwrites `text` in a way the compiler may not remove, then empties it.
void wipe(std::string& text);

class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) { wipe(value); }
  Secret(const Secret&) = default;
  Secret(Secret&& other) noexcept : value_(std::move(other.value_)) { wipe(other.value_); }
  Secret& operator=(const Secret& other);
  Secret& operator=(Secret&& other) noexcept;
  ~Secret() { wipe(value_); }

  bool empty() const { return value_.empty(); }
  bool operator==(const Secret&) const = default;
  // The only way in. What is derived from it must be wiped by whoever derives it.
  std::string_view reveal() const { return value_; }

 private:
  std::string value_;
};

}  // namespace cairn
