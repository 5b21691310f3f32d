// what: shape of ActiveMQ: creating a listener takes the consumer, then the session; dispatching takes the session, then the consumer
// truth: D
// expect: likely kind=lock hops=2
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "corpus.h"

struct Consumer {
  std::mutex lock;
  std::function<void(const std::string&)> listener;
};

class Session {
 public:
  void set_listener(const std::string& topic, std::function<void(const std::string&)> listener) {
    Consumer& consumer = consumers_[topic];
    std::lock_guard hold(consumer.lock);
    consumer.listener = std::move(listener);
    std::lock_guard start(dispatch_);
    ++listeners_;
  }
  void dispatch(const std::string& topic, const std::string& message) {
    std::lock_guard hold(dispatch_);
    Consumer& consumer = consumers_[topic];
    std::lock_guard deliver(consumer.lock);
    if (consumer.listener) consumer.listener(message);
  }
  void subscribe(const std::string& topic) { consumers_[topic]; }

 private:
  std::mutex dispatch_;
  int listeners_ = 0;
  std::map<std::string, Consumer> consumers_;
};

int main() {
  Session session;
  session.subscribe("prices");
  int heard = 0;
  std::thread client([&] { session.set_listener("prices", [&](const std::string&) { ++heard; }); });
  std::thread transport([&] {
    at_ms(30);
    session.dispatch("prices", "42");
  });
  client.join();
  transport.join();
  return heard == 1 ? 0 : 1;
}
