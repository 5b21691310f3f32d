// The sessions, files, contents and tokens of the Linux image in testdata/, made by our own stack: the inspector has to say
// the same of both, but for where things lie.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <libfdt.h>
#include <sys/mman.h>

#include <array>
#include <memory>
#include <nlohmann/json.hpp>

#include "inspect/core_writer.h"
#include "inspect/image_file.h"
#include "inspect/render.h"
#include "kho/abi/kho_v4.h"
#include "luo/orchestrator.h"
#include "memfd/testing/system.h"

namespace causeway::inspect {
namespace {

using nlohmann::json;

// What Linux's own test links to every file handler.
class TestFlb : public luo::Flb {
 public:
  explicit TestFlb(uint64_t index) : name_("liveupdate-test-flb-v" + std::to_string(index)), data_(kFirst + index) {}
  const char* compatible() const override { return name_.c_str(); }
  Status preserve(luo::FlbArgs& args) override {
    args.data = data_;
    return {};
  }
  void unpreserve(luo::FlbArgs&) override {}
  Status retrieve(luo::FlbArgs&) override { return {}; }
  void finish(luo::FlbArgs&) override {}

 private:
  static constexpr uint64_t kFirst = 0xfeedf00dcafebee0;
  std::string name_;
  uint64_t data_;
};

// A machine, its kernel, and the live update that is about to happen.
class Twin {
 public:
  Twin() : luo_(must(luo::Orchestrator::create(system_.kho()))) {
    must(luo_->publish_outgoing());
    must(luo_->register_handler(system_.handler()));
    for (TestFlb& flb : flbs_) must(luo_->register_flb(system_.handler(), flb));
    must(luo_->deserialize());
    system_.commit();
  }

  luo::SessionRef session(const char* name) { return sessions_.emplace_back(must(luo_->create_session(name))); }
  // One page with a text, as the selftests preserve it.
  void preserve(luo::Session& session, uint64_t token, std::string_view text) {
    UniqueFd fd = memfd::testing::make_memfd(kPageSize, 0);
    EXPECT_EQ(::pwrite(fd.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    must(session.preserve(token, file::FileRef(memfd::testing::open_file(fd))));
  }

  // The subtree `kho_test`: folios of several orders, and the FDT that lists them.
  void add_kho_test() {
    constexpr unsigned kOrderCount = 4;
    const mm::VmArea* list = must(system_.vmalloc().alloc(kPageSize, mm::kGfpKernel | mm::kGfpZero));
    auto* entries = reinterpret_cast<uint64_t*>(list->address);
    for (unsigned order = 0; order < kOrderCount; ++order) {
      mm::Page* folio = must(system_.pages().alloc_pages(Order(order), mm::kGfpKernel | mm::Gfp::kComp));
      must(system_.kho().preserve_folio(folio));
      entries[order] = system_.map().phys(folio).value() | order;
    }
    const kho::abi::VmallocDescriptor area = must(system_.kho().preserve_vmalloc(list->address));
    auto* fdt = static_cast<std::byte*>(must(system_.kho().alloc_preserve(kPageSize)));
    const uint32_t magic = 0x4b484f21, count = kOrderCount, checksum = 0;
    ASSERT_EQ(fdt_create(fdt, kPageSize), 0);
    ASSERT_EQ(fdt_finish_reservemap(fdt), 0);
    ASSERT_EQ(fdt_begin_node(fdt, ""), 0);
    ASSERT_EQ(fdt_property_string(fdt, "compatible", "kho-test-v1"), 0);
    ASSERT_EQ(fdt_property(fdt, "magic", &magic, sizeof magic), 0);
    ASSERT_EQ(fdt_begin_node(fdt, "data"), 0);
    ASSERT_EQ(fdt_property(fdt, "nr_folios", &count, sizeof count), 0);
    ASSERT_EQ(fdt_property(fdt, "folios_info", &area, sizeof area), 0);
    ASSERT_EQ(fdt_property(fdt, "csum", &checksum, sizeof checksum), 0);
    ASSERT_EQ(fdt_end_node(fdt), 0);
    ASSERT_EQ(fdt_end_node(fdt), 0);
    ASSERT_EQ(fdt_finish(fdt), 0);
    must(system_.kho().add_subtree("kho_test", fdt, fdt_totalsize(fdt)));
  }

  void freeze() {
    must(luo_->serialize());
    system_.commit(hw::HandoverKind::kOrderly);
  }

  UniqueFd dump() {
    std::vector<Segment> segments;
    std::vector<mm::MemRange> ram;
    for (const platform::RamRange& range : system_.platform().ram()) {
      if (range.hot_added) must(system_.platform().map(range.region));
      ram.push_back({range.base, range.size});
      segments.push_back({.base = range.base,
                          .ram_bytes = range.size,
                          .content_bytes = range.size,
                          .data = system_.platform().direct_map().to_virt(range.base)});
    }
    Findings findings(10);
    SegmentMemory memory(std::move(segments), findings);
    memory.set_ram(ram);
    const platform::Handover handover = *system_.platform().mailbox().current();
    UniqueFd fd(::memfd_create("dump", MFD_CLOEXEC));
    must(write_core(memory,
                    {.fdt = handover.fdt_addr,
                     .scratch_addr = handover.scratch_addr,
                     .scratch_size = handover.scratch_size,
                     .generation = handover.generation,
                     .release = handover.release,
                     .ram = ram},
                    fd.get(), CoreContents::kEverything));
    return fd;
  }

 private:
  memfd::testing::System system_;
  std::array<TestFlb, 3> flbs_{TestFlb(0), TestFlb(1), TestFlb(2)};
  std::unique_ptr<luo::Orchestrator> luo_;
  std::vector<luo::SessionRef> sessions_;
};

json inspect(const std::string& path) {
  auto image = ImageFile::open(path, {});
  if (!image.has_value()) return to_string(image.error());
  return to_json(decode(image->memory(), options_for(*image)));
}

// Takes out what may differ between two handovers of the same content:
//   where things lie                     fdt_phys, memory_map.root, phys, data of a file, pfn
//   how memory was allocated             the rest of memory_map
//   the file, and what it tells besides  file, image_pages, candidates, fdt_found_by, scratch, notes
//   the KHO test's folios                of random orders in Linux; its blob is not in that image
//   the kernel's release                 previous_release
json comparable(json report) {
  for (const char* field : {"fdt_phys", "memory_map", "file", "image_pages", "candidates", "fdt_found_by", "scratch", "notes"})
    EXPECT_EQ(report.erase(field), 1u) << field;
  report["kexec_metadata"].erase("previous_release");
  for (auto& [name, subtree] : report["subtrees"].items()) subtree.erase("phys");
  report["subtrees"]["kho_test"].erase("format");
  report["subtrees"]["kho_test"].erase("fields");
  for (json& session : report["luo"]["sessions"]) {
    for (json& file : session["files"]) {
      file.erase("data");
      file["memfd"].erase("phys");
      for (json& folio : file["memfd"]["folios"]) folio.erase("pfn");
      for (json& run : file["memfd"]["runs"]) run.erase("pfn");
    }
  }
  return report;
}

TEST(LinuxTwin, TheSameContentInOurImageReadsTheSame) {
  Twin twin;
  twin.add_kho_test();
  twin.preserve(*twin.session("kexec_multi_state"), 998, "2");
  twin.session("multi-test-empty-1");
  twin.session("multi-test-empty-2");
  twin.preserve(*twin.session("multi-test-files-1"), 0x1001, "Data for session files 1");
  luo::SessionRef two = twin.session("multi-test-files-2");
  twin.preserve(*two, 0x2002, "First file for session files 2");
  twin.preserve(*two, 0x3003, "Second file for session files 2");
  twin.freeze();

  const UniqueFd dump = twin.dump();
  const json ours = inspect("/proc/self/fd/" + std::to_string(dump.get()));
  const json theirs = inspect(CW_INSPECT_TESTDATA "/linux-7.3-luo-multi.elf.zst");
  ASSERT_TRUE(ours.value("ok", false)) << ours.dump(1);
  ASSERT_TRUE(theirs.value("ok", false)) << theirs.dump(1);
  EXPECT_EQ(ours["kexec_metadata"]["previous_release"], "test");
  EXPECT_EQ(ours["subtrees"]["kho_test"]["fields"]["nr_folios"], 4);
  EXPECT_EQ(comparable(ours).dump(1), comparable(theirs).dump(1));
}

}  // namespace
}  // namespace causeway::inspect
