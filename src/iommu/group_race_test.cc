// Several threads at one group.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>

#include "base/testing/results.h"
#include "iommu/core.h"
#include "iommu/testing/fake_driver.h"

namespace causeway::iommu {
namespace {

using testing::FakeDriver;

struct Pair {
  Pair() {
    core.register_driver(driver);
    for (unsigned i = 1; i <= 2; ++i) {
      DeviceInfo info = FakeDriver::device(i);
      info.isolation = 7;
      info.pasid_bits = 16;
      devices.push_back(must(core.probe_device(info)));
    }
    group = &devices[0]->group();
  }
  ~Pair() {
    for (Device* device : devices) core.release_device(*device);
  }
  FakeDriver driver;
  Core core;
  std::vector<Device*> devices;
  Group* group;
};

template <typename... Functions>
void together(Functions... functions) {
  std::array<std::thread, sizeof...(functions)> threads{std::thread(functions)...};
  for (std::thread& thread : threads) thread.join();
}

TEST(GroupRace, AKernelDriverAndAProgramNeverHaveItBoth) {
  Pair s;
  constexpr unsigned kRounds = 3000;
  std::atomic<int> drivers{0}, programs{0};
  std::atomic<unsigned> both{0}, used{0}, claimed{0};
  auto driver = [&] {
    for (unsigned i = 0; i < kRounds; ++i) {
      Status done = s.group->use_default_domain();
      if (!done) {
        EXPECT_EQ(error_of(done), EBUSY);
        std::this_thread::yield();
        continue;
      }
      ++used;
      ++drivers;
      if (programs != 0 || s.driver.on(*s.devices[0]) != s.group->default_domain()) ++both;
      --drivers;
      s.group->unuse_default_domain();
    }
  };
  auto program = [&, name = int{}] {
    for (unsigned i = 0; i < kRounds; ++i) {
      Status done = s.group->claim_dma_owner(&name);
      if (!done) {
        EXPECT_TRUE(error_of(done) == EBUSY || error_of(done) == EPERM);
        std::this_thread::yield();
        continue;
      }
      ++claimed;
      if (++programs != 1 || drivers != 0 || s.driver.on(*s.devices[1]) != &s.driver.blocked_domain()) ++both;
      --programs;
      s.group->release_dma_owner();
    }
  };
  together(driver, program, program);
  EXPECT_EQ(both, 0u);
  EXPECT_GT(used + claimed, 0u);
  EXPECT_FALSE(s.group->is_owned());
  must(s.group->claim_dma_owner(&s));
  s.group->release_dma_owner();
}

TEST(GroupRace, TwoAttachesOneWins) {
  Pair s;
  auto one = must(s.driver.alloc_paging(*s.devices[0], DomainType::kUnmanaged, 0));
  auto two = must(s.driver.alloc_paging(*s.devices[0], DomainType::kUnmanaged, 0));
  for (unsigned i = 0; i < 500; ++i) {
    std::atomic<unsigned> won{0}, pasid_won{0};
    auto attach = [&](Domain* domain) {
      return [&, domain] {
        Status done = s.group->attach(*domain);
        EXPECT_TRUE(done || error_of(done) == EBUSY);
        if (done) ++won;
        if (s.group->attach_pasid(*domain, 9)) ++pasid_won;
      };
    };
    together(attach(one.get()), attach(two.get()));
    EXPECT_EQ(won, 1u);
    EXPECT_EQ(pasid_won, 1u);
    EXPECT_EQ(s.driver.on(*s.devices[0]), s.driver.on(*s.devices[1]));
    EXPECT_EQ(s.driver.on(*s.devices[0], 9), s.driver.on(*s.devices[1], 9));
    s.group->detach_pasid(9);
    s.group->detach();
    s.driver.take_journal();
  }
}

// As a hardware thread does it: it knows a device and a PASID, and looks for whom to tell.
TEST(GroupRace, FaultsAreDeliveredWhileDomainsComeAndGo) {
  Pair s;
  auto one = must(s.driver.alloc_paging(*s.devices[0], DomainType::kUnmanaged, 0));
  auto two = must(s.driver.alloc_paging(*s.devices[0], DomainType::kUnmanaged, 0));
  std::atomic<unsigned> delivered{0}, found{0}, stray{0};
  AttachHandle first, second;
  unsigned token = s.core.on_fault([&](const FaultReport& report) {
    ++delivered;
    Device* device = s.core.find(0, report.source);
    if (device == nullptr) return;
    AttachHandle* handle = device->group().handle(report.pasid);
    if (handle == nullptr) return;
    ++found;
    if (handle != &first && handle != &second) ++stray;
  });
  std::atomic<bool> stop{false};
  std::atomic<unsigned> reported{0}, extra{0};
  std::thread hardware([&] {
    while (!stop || reported < 100) {
      s.core.report_fault({.source = Bdf(0, 1 + reported % 2, 0), .pasid = reported % 3 == 0 ? kNoPasid : 9});
      ++reported;
    }
  });
  std::thread listener([&] {
    while (!stop) {
      unsigned mine = s.core.on_fault([&](const FaultReport&) { ++extra; });
      s.core.remove_fault_handler(mine);
    }
  });
  for (unsigned i = 0; i < 500; ++i) {
    must(s.group->attach(*one, &first));
    must(s.group->attach_pasid(*two, 9, &second));
    must(s.group->begin_reset());
    s.group->end_reset();
    s.group->detach_pasid(9);
    s.group->detach();
    s.driver.take_journal();
  }
  stop = true;
  hardware.join();
  listener.join();
  s.core.remove_fault_handler(token);
  EXPECT_EQ(delivered, reported);
  EXPECT_EQ(stray, 0u);
  unsigned before = delivered;
  s.core.report_fault({.source = Bdf(0, 1, 0)});
  EXPECT_EQ(delivered, before);
}

TEST(GroupRace, DevicesComeAndGoBesideEachOther) {
  FakeDriver driver;
  Core core;
  core.register_driver(driver);
  auto plug = [&](unsigned number) {
    return [&, number] {
      for (unsigned i = 0; i < 200; ++i) {
        DeviceInfo info = FakeDriver::device(number);
        info.isolation = number <= 2 ? 7 : 0;
        Device& device = *must(core.probe_device(info));
        EXPECT_EQ(driver.on(device), device.group().domain());
        core.release_device(device);
      }
    };
  };
  together(plug(1), plug(2), plug(3));
  EXPECT_TRUE(core.groups().empty());
  EXPECT_EQ(driver.domains(), 0u);
}

}  // namespace
}  // namespace causeway::iommu
