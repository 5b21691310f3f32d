// For tests of dma-debug: an instance of it whose reports are collected.
//
//   Watched t;
//   t.map(0x200000, 64, Direction::kToDevice);
//   t.debug.unmap_phys(t.device, DmaAddr{0x200000}, 32, Direction::kToDevice, Attr::kNone);
//   EXPECT_EQ(t.fresh(), Errors{DebugError::kDifferentSize});   // what was reported since the last fresh()
#pragma once

#include <gtest/gtest.h>

#include <mutex>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/warn_once.h"
#include "dma/debug/debug.h"
#include "dma/testing/boot.h"

namespace causeway::dma {

inline void PrintTo(DebugError error, std::ostream* out) { *out << name_of(error); }

namespace testing {

using Errors = std::vector<DebugError>;

struct Watched {
  explicit Watched(Debug::Options options = {.all_errors = true})
      : device(system.device()), debug(system.map(), complete(std::move(options))) {
    log::clear_warn_once();
    debug.set_reporter([this](const Debug::Report& report) {
      std::lock_guard guard(mutex);
      reports.push_back(report);
    });
  }

  // The bus address is the physical one.
  DmaAddr map(uint64_t phys, size_t size, Direction direction, Attr attrs = Attr::kNone) {
    debug.map_phys(device, PhysAddr(phys), size, direction, DmaAddr(phys), attrs);
    debug.mapping_error(device, DmaAddr(phys));
    return DmaAddr(phys);
  }
  void unmap(uint64_t phys, size_t size, Direction direction, Attr attrs = Attr::kNone) {
    debug.unmap_phys(device, DmaAddr(phys), size, direction, attrs);
  }
  Errors fresh() {
    std::lock_guard guard(mutex);
    Errors errors;
    for (; seen < reports.size(); ++seen) errors.push_back(reports[seen].error);
    return errors;
  }
  std::string last_text() {
    std::lock_guard guard(mutex);
    return reports.empty() ? std::string() : reports.back().text;
  }

  log::Capture capture;
  System system;
  Device device;
  Debug debug;
  std::mutex mutex;
  std::vector<Debug::Report> reports;
  size_t seen = 0;

 private:
  Debug::Options complete(Debug::Options options) {
    options.is_ram = [this](Pfn pfn) { return system.pages().is_managed(pfn); };
    options.is_vmalloc = [this](const void* memory) { return system.vmalloc().find(memory) != nullptr; };
    return options;
  }
};

}  // namespace testing
}  // namespace causeway::dma
