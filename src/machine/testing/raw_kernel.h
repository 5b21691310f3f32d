// A kernel made of hw alone, for tests: attaches over the control protocol, posts requests to the ring
// and maps RAM. Single-threaded.
//
//   RawKernel kernel(machine->connect());
//   kernel.write(kernel.config(Bdf(0, 1, 0)) + pci::kCommand, 6, 2);
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "base/mapping.h"
#include "hw/bus.h"
#include "hw/control.h"
#include "hw/futex.h"
#include "hw/packet.h"
#include "hw/pci.h"
#include "hw/shared_words.h"

namespace causeway::machine::testing {

// Polls `condition` for up to ten seconds.
template <typename Condition>
[[nodiscard]] bool eventually(const Condition& condition) {
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

inline UniqueFd connect_abstract(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) socket.reset();
  return socket;
}

struct ControlAnswer {
  hw::control::Reply reply{};
  UniqueFd fd;
};

inline ControlAnswer control_call(int socket, hw::control::Op op, uint64_t value = 0, uint64_t argument = 0,
                                  int fd = -1) {
  hw::control::Request request{hw::control::kProtocolVersion, op, value, argument};
  ControlAnswer answer;
  answer.reply.error = EIO;
  if (!hw::send_packet(socket, &request, sizeof request, fd)) return answer;
  auto packet = hw::receive_packet(socket, &answer.reply, sizeof answer.reply);
  if (packet) answer.fd = std::move(packet->fd);
  return answer;
}

class RawKernel {
 public:
  explicit RawKernel(UniqueFd control) : control_(std::move(control)) {
    ControlAnswer attached = control_call(control_.get(), hw::control::Op::kAttach);
    generation_ = attached.reply.index;
    bus_ = *Mapping::shared(attached.fd.get(), 0, hw::kBusSize);
    map_ram();
  }

  uint32_t generation() const { return generation_; }
  int control() const { return control_.get(); }
  hw::BusHeader& header() { return *bus_.at<hw::BusHeader>(0); }
  hw::RegionEntry* regions() { return bus_.at<hw::RegionEntry>(hw::kRegionTable); }
  hw::RequestRing& ring() { return *bus_.at<hw::RequestRing>(hw::kRequestRing); }
  hw::InterruptMailbox& interrupts() { return *bus_.at<hw::InterruptMailbox>(hw::kInterruptMailbox); }
  const std::byte* firmware_table() { return bus_.data() + hw::kFirmwareTable; }
  static PhysAddr config(Bdf bdf) { return hw::kEcamBase + hw::pci::ecam_offset(bdf); }

  void write(PhysAddr address, uint64_t value, uint32_t width) {
    post({address.value(), value, hw::RequestOp::kWrite, width, 0});
  }
  uint64_t read_with_effect(PhysAddr address, uint32_t width) {
    post({address.value(), 0, hw::RequestOp::kRead, width, 0});
    flush();
    return ring().read_result.load();
  }
  uint64_t read(PhysAddr address, uint32_t width) {
    flush();
    uint64_t offset = address < hw::kBarBase     ? hw::kEcam + (address - hw::kEcamBase)
                      : address < hw::kIommuBase ? hw::kBarWindow + (address - hw::kBarBase)
                                                 : hw::kIommuWindow + (address - hw::kIommuBase);
    switch (width) {
      case 1:
        return std::atomic_ref<uint8_t>(*bus_.at<uint8_t>(offset)).load();
      case 2:
        return std::atomic_ref<uint16_t>(*bus_.at<uint16_t>(offset)).load();
      case 4:
        return std::atomic_ref<uint32_t>(*bus_.at<uint32_t>(offset)).load();
      default:
        return std::atomic_ref<uint64_t>(*bus_.at<uint64_t>(offset)).load();
    }
  }
  void flush() {
    uint32_t tail = ring().tail.load();
    EXPECT_TRUE(eventually([&] { return static_cast<int32_t>(ring().head.load() - tail) >= 0; }));
  }
  void post(const hw::Request& request) {
    uint32_t tail = ring().tail.load();
    while (tail - ring().head.load() >= hw::kRequestSlots) std::this_thread::yield();
    hw::store_words(&ring().slot[tail % hw::kRequestSlots], request);
    ring().tail.store(tail + 1);
    if (ring().machine_sleeps.load() != 0) hw::futex_wake(ring().tail);
  }

  // RAM, `address` inside a region that existed at attach or at the last map_ram().
  std::byte* ram(PhysAddr address) {
    auto after = ram_.upper_bound(address.value());
    auto& [base, mapping] = *std::prev(after);
    return mapping.data() + (address.value() - base);
  }
  void map_ram() {
    for (uint32_t i = 0; i < header().region_count.load(); ++i) {
      if (regions()[i].kind.load() == hw::RegionKind::kFree) continue;
      auto fd = control_call(control_.get(), hw::control::Op::kGetFd, regions()[i].fd_id).fd;
      ram_[regions()[i].base] = *Mapping::shared(fd.get(), regions()[i].fd_offset, regions()[i].size);
    }
  }

 private:
  UniqueFd control_;
  uint32_t generation_ = 0;
  Mapping bus_;
  std::map<uint64_t, Mapping> ram_;
};

}  // namespace causeway::machine::testing
