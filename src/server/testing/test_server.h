// A ClientServer over an abstract socket of its own, with two test devices.
//
//   TestServer server;
//   channel.connect(server.name().c_str());
//   server.stop();                              // it goes away, in the middle of whatever
//   EXPECT_TRUE(server.is_idle());              // nothing is left of any client
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>

#include "server/client_server.h"
#include "server/testing/test_device.h"

namespace causeway::server::testing {

template <typename Condition>
bool eventually(Condition condition) {
  for (auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);;) {
    if (condition()) return true;
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

inline size_t descriptors_in_use() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count - 1;  // the iterator's own
}

class TestServer {
 public:
  TestServer() {
    static std::atomic<int> next{0};
    name_ = "causeway-test/" + std::to_string(::getpid()) + "/" + std::to_string(next.fetch_add(1));
    listener_.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address = make_address();
    listens_ = ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length()) == 0 &&
               ::listen(listener_.get(), 64) == 0;
    auto shared = std::make_unique<TestDevice>("/dev/test", live_files);
    device = shared.get();
    bool added = devices_.add(std::move(shared)).has_value() &&
                 devices_.add(std::make_unique<TestDevice>("/dev/exclusive", live_exclusive,
                                                           TestDevice::Opening::kExclusive)).has_value();
    if (listens_ && added) start();
  }
  ~TestServer() { stop(); }

  void start() {
    auto started = ClientServer::start(listener_.get(), devices_, name_ + "/");
    if (started) server_ = std::move(*started);
  }
  // The listening socket stays, as in a live update.
  void stop() {
    device->go_on.store(true);
    device->go_on.notify_all();
    server_.reset();
  }
  bool runs() const { return server_ != nullptr; }

  // Nothing is left of any client.
  bool is_idle() const {
    return eventually([&] {
      return server_->open_files() == 0 && server_->channels() == 0 && live_files.load() == 0 && live_exclusive.load() == 0;
    });
  }
  // A bare connection.
  UniqueFd connect() const {
    UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un address = make_address();
    if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), length()) != 0) socket.reset();
    return socket;
  }

  const std::string& name() const { return name_; }
  ClientServer& server() { return *server_; }

  std::atomic<int> live_files{0};
  std::atomic<int> live_exclusive{0};
  TestDevice* device = nullptr;

 private:
  sockaddr_un make_address() const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name_.data(), name_.size());
    return address;
  }
  socklen_t length() const { return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name_.size()); }

  std::string name_;
  UniqueFd listener_;
  bool listens_ = false;
  uapi::Devices devices_;
  std::unique_ptr<ClientServer> server_;
};

}  // namespace causeway::server::testing
