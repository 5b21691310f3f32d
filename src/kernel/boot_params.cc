#include "kernel/boot_params.h"

#include <bit>
#include <charconv>
#include <functional>
#include <map>

#include "dma/swiotlb/swiotlb.h"
#include "kernel/version.h"

namespace causeway::kernel {

namespace {

using Setter = std::function<bool(BootParams&, std::string_view)>;

template <typename T>
bool parse_number(std::string_view text, T* value) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc{} && end == text.data() + text.size();
}

bool parse_switch(std::string_view text, bool* value) {
  if (text != "on" && text != "off") return false;
  *value = text == "on";
  return true;
}

bool parse_bit(std::string_view text, bool* value) {
  if (text != "0" && text != "1") return false;
  *value = text == "1";
  return true;
}

bool parse_hex(std::string_view text, unsigned max, unsigned* value) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value, 16);
  return error == std::errc{} && end == text.data() + text.size() && *value <= max;
}

// "BB:DD.F,..."
bool set_no_handover(BootParams& params, std::string_view text) {
  while (!text.empty()) {
    std::string_view word = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    unsigned bus = 0, device = 0, function = 0;
    if (word.size() != 7 || word[2] != ':' || word[5] != '.' || !parse_hex(word.substr(0, 2), 255, &bus) ||
        !parse_hex(word.substr(3, 2), 31, &device) || !parse_hex(word.substr(6, 1), 7, &function))
      return false;
    params.no_handover.emplace_back(bus, device, function);
  }
  return true;
}

// Words as Linux has them; several, separated by commas.
bool set_intel_iommu(BootParams& params, std::string_view text) {
  while (!text.empty()) {
    std::string_view word = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (word == "on") params.iommu.enabled = true;
    else if (word == "off") params.iommu.enabled = false;
    else if (word == "sm_on") params.iommu.scalable = true;
    else if (word == "sm_off") params.iommu.scalable = false;
    else return false;
  }
  return true;
}

// Linux's swiotlb=, in slots; 0 slots are none.
bool set_swiotlb(BootParams& params, std::string_view text) {
  dma::Config& dma = params.dma;
  if (text == "off") return dma.swiotlb_size = 0, true;
  uint64_t slots = 0;
  for (unsigned field = 0; !text.empty(); ++field) {
    std::string_view word = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (word == "force") {
      dma.swiotlb_force = true;
    } else if (field == 0) {
      if (!parse_number(word, &slots) || slots > GiB(1) / dma::kSlotSize) return false;
      dma.swiotlb_size = slots * dma::kSlotSize;
    } else if (field != 1 || !parse_number(word, &dma.swiotlb_areas) || !std::has_single_bit(dma.swiotlb_areas)) {
      return false;
    }
  }
  return true;
}

// What each driver is to do wrong; most can do what is asked in their own way.
bool set_sabotage(BootParams& params, std::string_view mode) {
  using Engine = drivers::Sabotage;
  using Disk = drivers::nvme::Sabotage;
  struct Mode {
    std::string_view name;
    Engine engine;
    Disk disk;
  };
  static constexpr Mode kModes[] = {
      {"skip-preserve", Engine::kSkipPreserve, Disk::kSkipPreserve},
      {"early-free", Engine::kEarlyFree, Disk::kEarlyFree},
      {"stop-device", Engine::kStopDevice, Disk::kStopDevice},
      {"drop-in-flight", Engine::kNone, Disk::kDropInFlight},
      {"replay-in-flight", Engine::kNone, Disk::kReplayInFlight},
  };
  for (const Mode& known : kModes) {
    if (known.name != mode) continue;
    params.dma_engine.sabotage = known.engine;
    params.nvme.sabotage = known.disk;
    return true;
  }
  if (mode == "short-preserve") params.dma_faults.short_preserve = true;
  else if (mode == "wrong-refcount") params.dma_faults.restore_split = true;
  else return set_iommu_sabotage(params.iommu, mode);
  return true;
}

const std::map<std::string_view, Setter>& setters() {
  static const std::map<std::string_view, Setter> map{
      {"kho", [](BootParams& p, std::string_view v) { return parse_switch(v, &p.kho.enabled); }},
      {"kho_scratch",
       [](BootParams& p, std::string_view v) {
         auto sizes = kho::parse_scratch_option(v);
         if (sizes) p.kho.scratch = *sizes;
         return sizes.has_value();
       }},
      {"kho_format",
       [](BootParams& p, std::string_view v) {
         if (v != "v4" && v != "typed") return false;
         p.kho.format = v == "v4" ? kho::Format::kV4 : kho::Format::kTyped;
         return true;
       }},
      {"liveupdate", [](BootParams& p, std::string_view v) { return parse_switch(v, &p.liveupdate); }},
      {"check_pages", [](BootParams& p, std::string_view v) { return parse_switch(v, &p.check_pages); }},
      {"swiotlb", set_swiotlb},
      {"coherent_pool",
       [](BootParams& p, std::string_view v) { return parse_number(v, &p.dma.atomic_pool_size); }},
      {"dma_debug", [](BootParams& p, std::string_view v) { return parse_switch(v, &p.dma.debug); }},
      {"intel_iommu", set_intel_iommu},
      {"iommu.passthrough",
       [](BootParams& p, std::string_view v) { return parse_bit(v, &p.iommu.passthrough); }},
      {"iommu.strict", [](BootParams& p, std::string_view v) { return parse_bit(v, &p.iommu.strict); }},
      {"iommu.forcedac", [](BootParams& p, std::string_view v) { return parse_bit(v, &p.iommu.forcedac); }},
      {"no_handover", set_no_handover},
      {"memory_pressure",
       [](BootParams& p, std::string_view v) { return parse_number(v, &p.memory_pressure_pages); }},
      {"ballast", [](BootParams& p, std::string_view v) { return parse_number(v, &p.ballast); }},
      {"dma_engine.ring",
       [](BootParams& p, std::string_view v) {
         uint32_t entries = 0;
         if (!parse_number(v, &entries) || !std::has_single_bit(entries) || entries < 2 || entries > 65536)
           return false;
         p.dma_engine.ring_log2 = static_cast<unsigned>(std::countr_zero(entries));
         return true;
       }},
      {"dma_engine.buffer",
       [](BootParams& p, std::string_view v) {
         return parse_number(v, &p.dma_engine.buffer_size) && p.dma_engine.buffer_size >= 64 &&
                p.dma_engine.buffer_size <= MiB(4);
       }},
      {"dma_engine.rate",
       [](BootParams& p, std::string_view v) {
         return parse_number(v, &p.dma_engine.rate) && p.dma_engine.rate > 0;
       }},
      {"dma_engine.overrun",
       [](BootParams& p, std::string_view v) {
         p.dma_engine.hold = v == "hold";
         return v == "hold" || v == "drop";
       }},
      {"dma_engine.width",
       [](BootParams& p, std::string_view v) {
         return parse_number(v, &p.dma_engine.address_width) &&
                (p.dma_engine.address_width == 32 || p.dma_engine.address_width == 40 ||
                 p.dma_engine.address_width == 64);
       }},
      {"dma_engine.recycle",
       [](BootParams& p, std::string_view v) { return parse_number(v, &p.dma_engine.recycle); }},
      {"nvme.file", [](BootParams& p, std::string_view v) { return parse_number(v, &p.nvme.file_bytes); }},
      {"nvme.depth",
       [](BootParams& p, std::string_view v) {
         return parse_number(v, &p.nvme.queue_depth) && p.nvme.queue_depth >= 1 && p.nvme.queue_depth <= 128;
       }},
      {"nvme.queues",
       [](BootParams& p, std::string_view v) {
         return parse_number(v, &p.nvme.queues) && p.nvme.queues >= 1 && p.nvme.queues <= 8;
       }},
      {"nvme.io",
       [](BootParams& p, std::string_view v) {
         return parse_number(v, &p.nvme.io_size) && p.nvme.io_size != 0 && p.nvme.io_size % kPageSize == 0;
       }},
      {"nvme.sgl", [](BootParams& p, std::string_view v) { return parse_switch(v, &p.nvme.sgl); }},
      {"nvme.poll", [](BootParams& p, std::string_view v) { return parse_switch(v, &p.nvme.poll); }},
      {"sabotage", set_sabotage},
  };
  return map;
}

}  // namespace

Result<BootParams> parse_command_line(std::string_view text, std::string* problem) {
  BootParams params;
  params.kho.release = release();
  params.command_line = text;
  while (!text.empty()) {
    std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (word.empty()) continue;
    auto equals = word.find('=');
    auto setter = setters().find(word.substr(0, equals));
    bool known = equals != std::string_view::npos && setter != setters().end();
    if (!known || !setter->second(params, word.substr(equals + 1))) {
      if (problem != nullptr)
        *problem = fmt::format("kernel command line: {} '{}'", known ? "bad value in" : "unknown word", word);
      return fail(EINVAL, "the kernel command line cannot be understood");
    }
  }
  return params;
}

}  // namespace causeway::kernel
