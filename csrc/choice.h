// The choice between the algorithms of a device: the first of an ordered list that does not refuse, or
// the one that is forced, where it does not refuse. Algorithm has a name; `refusal`, a parameter below,
// returns the reason why an algorithm does not apply, or null where it does.
#pragma once

#include <atomic>
#include <string>
#include <utility>
#include <vector>

namespace torchconv {

template <class Algorithm>
class Choice {
 public:
  explicit Choice(std::vector<const Algorithm*> list) : list_(std::move(list)) {}

  // Null where all refuse.
  template <class Refusal>
  const Algorithm* select(const Refusal& refusal) const {
    const Algorithm* const forced = this->forced();
    if (forced && !refusal(*forced)) return forced;
    for (const Algorithm* algorithm : list_) {
      if (!refusal(*algorithm)) return algorithm;
    }
    return nullptr;
  }

  // One line per algorithm up to the one that runs: its name and why it does or does not. Of the
  // one that runs, name_of(algorithm) is the name.
  template <class Refusal, class NameOf>
  std::string explain(const Refusal& refusal, const NameOf& name_of) const {
    std::string text;
    bool runs = false;
    const auto tell = [&](const Algorithm& algorithm, const char* how) {
      const char* const reason = refusal(algorithm);
      runs = !reason;
      text += text.empty() ? "" : "\n";
      text += (runs ? name_of(algorithm) : std::string(algorithm.name)) + ": " + how;
      text += runs ? "runs" : reason;
    };
    if (const Algorithm* const forced = this->forced()) {
      tell(*forced, "forced, ");
    }
    for (auto next = list_.begin(); !runs && next != list_.end(); ++next) tell(**next, "");
    return text;
  }

  const Algorithm* forced() const { return forced_.load(std::memory_order_relaxed); }

  // An empty name ends the forcing; false if there is no such algorithm.
  bool force(const std::string& name) {
    const Algorithm* found = nullptr;
    for (const Algorithm* algorithm : list_) {
      if (name == algorithm->name) found = algorithm;
    }
    if (!found && !name.empty()) return false;
    forced_.store(found, std::memory_order_relaxed);
    return true;
  }

 private:
  const std::vector<const Algorithm*> list_;
  std::atomic<const Algorithm*> forced_{nullptr};
};

}  // namespace torchconv
