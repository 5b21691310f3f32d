// what: drivers call their users back with a lock held, and a user's callback joins the driver's thread, which takes the bus at each interrupt,
// and one of them once more at its end; the other one's lock is the bus: had it not just been told to stop, it would wait for the bus
// truth: D
// expect: likely hops=2
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "corpus.h"

class Driver {
 public:
  Driver(std::mutex& bus, std::mutex& lock, bool flushes)
      : bus_(bus), lock_(lock), flushes_(flushes), poller_([this] { poll(); }) {}
  void on_error(std::function<void()> callback) { on_error_ = std::move(callback); }
  void fail() {
    std::lock_guard hold(lock_);
    if (on_error_) on_error_();
  }
  void stop() {
    stop_ = true;
    if (poller_.joinable()) poller_.join();
  }

 private:
  void poll() {
    for (long next = 10; !stop_; next += 40) {
      interrupt();
      at_ms(next);
    }
    if (flushes_) interrupt();
  }
  void interrupt() {
    std::lock_guard hold(bus_);
    ++interrupts_;
  }
  std::mutex& bus_;
  std::mutex& lock_;
  bool flushes_;
  std::atomic<bool> stop_{false};
  long interrupts_ = 0;
  std::function<void()> on_error_;
  std::thread poller_;
};

int main() {
  std::mutex bus, own;
  std::vector<std::unique_ptr<Driver>> drivers;
  drivers.push_back(std::make_unique<Driver>(bus, bus, false));
  drivers.push_back(std::make_unique<Driver>(bus, own, true));
  for (auto& driver : drivers) driver->on_error([&driver] { driver->stop(); });
  std::thread hardware([&] {
    at_ms(70);
    for (auto& driver : drivers) driver->fail();
  });
  hardware.join();
  for (auto& driver : drivers) driver->stop();
  return 0;
}
