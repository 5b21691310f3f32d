// What a scripted handler or FLB was asked to do, in order: "preserve 5", "freeze 5".
#pragma once

#include <string>
#include <vector>

#include "sync/guarded.h"

namespace causeway::luo::testing {

class Journal {
 public:
  void add(std::string line) {
    lines_.with([&](auto& lines) { lines.push_back(std::move(line)); });
  }
  // What was added since the last call.
  std::vector<std::string> take() {
    return lines_.with([](auto& lines) { return std::exchange(lines, {}); });
  }

 private:
  sync::Guarded<std::vector<std::string>> lines_;
};

}  // namespace causeway::luo::testing
