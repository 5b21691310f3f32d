// what: stop() joins the worker with the state locked, and the worker's last round takes it; here its last round was over
// truth: D
// expect: possible
// level: possible
#include <memory>
#include <mutex>
#include <thread>

#include "corpus.h"

class Service {
 public:
  void start() { worker_ = std::thread([this] { run(); }); }
  void stop() {
    std::lock_guard hold(state_);
    stopping_ = true;
    worker_.join();
  }

 private:
  void run() {
    for (int round = 0; round < 3; ++round) {
      std::lock_guard hold(state_);
      if (stopping_) return;
      ++rounds_;
    }
    at_ms(60);
  }
  std::mutex state_;
  bool stopping_ = false;
  int rounds_ = 0;
  std::thread worker_;
};

int main() {
  auto service = std::make_unique<Service>();
  service->start();
  at_ms(30);
  service->stop();
  return 0;
}
