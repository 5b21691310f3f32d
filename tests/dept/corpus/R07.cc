// what: a std::shared_mutex read, then a std::mutex; the other way round for writing
// truth: D
// expect: likely kind=lock hops=2
#include <map>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>

#include "corpus.h"

class Registry {
 public:
  int find(const std::string& name) {
    std::shared_lock reading(names_);
    std::lock_guard counting(statistics_);
    ++lookups_;
    auto found = ids_.find(name);
    return found == ids_.end() ? -1 : found->second;
  }
  void reset() {
    std::lock_guard counting(statistics_);
    lookups_ = 0;
    std::unique_lock writing(names_);
    ids_.clear();
  }

 private:
  std::shared_mutex names_;
  std::mutex statistics_;
  std::map<std::string, int> ids_;
  long lookups_ = 0;
};

int main() {
  Registry registry;
  std::thread finder([&] { registry.find("eth0"); });
  std::thread resetter([&] {
    at_ms(30);
    registry.reset();
  });
  finder.join();
  resetter.join();
  return 0;
}
