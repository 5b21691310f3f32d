// Untrusted images: whatever they hold, decoding ends, and takes memory and time by their size. 20,000 damaged images in a
// plain build, 100,000 under sanitizers; CW_MUTATIONS=N runs another number.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <new>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/mapping.h"
#include "inspect/render.h"
#include "inspect/testing/decoding.h"
#include "inspect/testing/driver_example.h"
#include "inspect/testing/image_builder.h"
#include "inspect/testing/iommu_example.h"
#include "inspect/testing/mutator.h"
#include "inspect/testing/sparse_image.h"
#include "inspect/zstd_file.h"

namespace {

// Bytes that operator new has given out and not got back, and the most there were.
std::atomic<uint64_t> live_bytes{0};
std::atomic<uint64_t> peak_bytes{0};

void* counted(size_t size) {
  void* pointer = std::malloc(size == 0 ? 1 : size);
  if (pointer == nullptr) std::abort();
  const uint64_t now = live_bytes.fetch_add(::malloc_usable_size(pointer)) + ::malloc_usable_size(pointer);
  uint64_t peak = peak_bytes.load();
  while (peak < now && !peak_bytes.compare_exchange_weak(peak, now)) {
  }
  return pointer;
}
void uncounted(void* pointer) {
  if (pointer == nullptr) return;
  live_bytes.fetch_sub(::malloc_usable_size(pointer));
  std::free(pointer);
}

}  // namespace

void* operator new(size_t size) { return counted(size); }
void* operator new[](size_t size) { return counted(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return counted(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return counted(size); }
void operator delete(void* pointer) noexcept { uncounted(pointer); }
void operator delete[](void* pointer) noexcept { uncounted(pointer); }
void operator delete(void* pointer, const std::nothrow_t&) noexcept { uncounted(pointer); }
void operator delete[](void* pointer, const std::nothrow_t&) noexcept { uncounted(pointer); }
void operator delete(void* pointer, size_t) noexcept { uncounted(pointer); }
void operator delete[](void* pointer, size_t) noexcept { uncounted(pointer); }

namespace causeway::inspect {
namespace {

class PeakMemory {
 public:
  PeakMemory() : before_(live_bytes.load()) { peak_bytes = before_; }
  uint64_t bytes() const { return peak_bytes.load() - before_; }

 private:
  uint64_t before_;
};

constexpr unsigned kKindsOfImages = 6;

// Of all kinds together.
uint64_t mutations() {
  if (const char* number = std::getenv("CW_MUTATIONS")) return std::strtoull(number, nullptr, 10);
#if defined(__SANITIZE_THREAD__)
  return 2'000;  // there is one thread
#elif CW_SANITIZED
  return 100'000;
#else
  return 20'000;
#endif
}

void decode_and_render(std::span<const std::byte> bytes, bool search) {
  PeakMemory memory;
  auto image = ImageFile::from_bytes(bytes);
  if (!image.has_value()) return;
  Options options = options_for(*image);
  if (!search) options.fdt = PhysAddr(ImageBuilder::kFdt);
  options.device = {0, Bdf(0, 1, 0)};
  const Report report = decode(image->memory(), options);
  const uint64_t pages = bytes.size() / kPageSize + 1;
  // A page holds 512 words at most, each looked at once; the rest is what is the same for every image.
  ASSERT_LE(report.work, pages * 520 + 1024);
  const std::string text = render_text(report, {});
  const std::string json = to_json(report).dump(-1, ' ', false, nlohmann::json::error_handler_t::strict);
  ASSERT_FALSE(text.empty() || json.empty());
  ASSERT_LE(memory.bytes(), MiB(6) + bytes.size() * 8);
}

void run_mutations(std::vector<std::byte> bytes, uint64_t seed, bool search) {
  Mutator mutator(bytes, seed);
  for (uint64_t i = 0; i < mutations() / kKindsOfImages && !::testing::Test::HasFatalFailure(); ++i) {
    SCOPED_TRACE(::testing::Message() << "mutation " << i << " of seed " << seed);
    decode_and_render(mutator.damage(), search);
    mutator.undo();
  }
}

std::vector<std::byte> fixture() {
  std::ifstream in(CW_INSPECT_TESTDATA "/linux-7.3-luo-multi.elf.zst", std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  const std::string packed = text.str();
  Findings findings(10);
  UniqueFd fd = *unpack_zstd(std::as_bytes(std::span(packed)), GiB(1), findings);
  struct stat status {};
  ::fstat(fd.get(), &status);
  std::vector<std::byte> bytes(static_cast<size_t>(status.st_size));
  EXPECT_EQ(::pread(fd.get(), bytes.data(), bytes.size(), 0), status.st_size);
  return bytes;
}

TEST(Bounds, DamagedLinuxImages) { run_mutations(fixture(), 1, true); }
TEST(Bounds, DamagedCoresOfTheWorkedExample) { run_mutations(WorkedExample().core(), 2, true); }
TEST(Bounds, DamagedRawImagesOfTheWorkedExample) {
  std::vector<std::byte> raw = WorkedExample().raw();
  raw.resize(0x115000);
  run_mutations(std::move(raw), 3, false);
}
TEST(Bounds, DamagedImagesOfDrivers) { run_mutations(DriverExample(kho::Format::kTyped).core(), 4, false); }

TEST(Bounds, DamagedImagesOfIommusLegacy) { run_mutations(IommuExample(IommuExample::Mode::kLegacy).core(), 5, false); }
TEST(Bounds, DamagedImagesOfIommusScalable) { run_mutations(IommuExample(IommuExample::Mode::kScalable).core(), 6, false); }

// Every entry of every level leads to the next table: 512^4 ways to 512 leaves.
TEST(Bounds, PageTablesThatShareTablesAreReadOnce) {
  IommuExample image(IommuExample::Mode::kLegacy);
  for (unsigned level = IommuExample::kLevel; level > 0; --level) {
    const uint64_t table = align_down(image.entry(0, 0x1000, level), kPageSize);
    const auto link = image.get<uint64_t>(image.entry(0, 0x1000, level));
    for (uint64_t i = 0; i < 512; ++i) image.put(table + i * 8, link);
  }
  Decoded decoded(image.core(), PhysAddr(ImageBuilder::kFdt));
  EXPECT_EQ(decoded.report.iommu[0].domains[0].table_pages(), 4u);
  EXPECT_TRUE(decoded.found("image.page-shared"));
  EXPECT_LE(decoded.report.findings.list().size(), 1000u);
}

// Every node links the same node 512 times: 512^5 paths to one leaf.
TEST(Bounds, ATreeOfSharedNodesIsReadOnce) {
  ImageBuilder image;
  image.preserve(ImageBuilder::kFdt, 0);
  image.write_fdt();
  for (uint64_t node = 0x10a000; node < 0x10f000; node += kPageSize)
    for (uint64_t i = 0; i < 512; ++i) image.put(node + i * 8, node + kPageSize);
  Decoded decoded(image.core(), PhysAddr(ImageBuilder::kFdt));
  EXPECT_EQ(decoded.report.map.nodes, 6u);
  EXPECT_TRUE(decoded.found("tree.node-shared"));
  EXPECT_LE(decoded.report.findings.list().size(), 1000u);
}

// 51 sessions that all list the same 63 files.
TEST(Bounds, FilesSharedBetweenSessionsAreReadOnce) {
  WorkedExample image;
  image.put(WorkedExample::kSessions, kho::abi::BlockHeader{0, 51});
  auto session = image.get<luo::abi::SessionSer>(WorkedExample::kSessions + 16);
  for (uint64_t i = 0; i < 51; ++i) {
    session.name[0] = static_cast<char>('A' + i);
    image.put(WorkedExample::kSessions + 16 + i * sizeof session, session);
  }
  Decoded decoded(image.core());
  ASSERT_EQ(decoded.report.luo->sessions.size(), 51u);
  EXPECT_EQ(decoded.report.luo->sessions[0].files.size(), 1u);
  EXPECT_TRUE(decoded.report.luo->sessions[1].files.empty());
  EXPECT_TRUE(decoded.found("image.page-shared"));
}

TEST(Bounds, AMillionRunsInATebibyteTakeLittleMemoryAndNoHoleIsTouched) {
  SparseImage sparse = SparseImage::create(TiB(1), 1'000'000);
  struct stat before {}, after {};
  ::fstat(sparse.fd(), &before);
  PeakMemory memory;
  auto image = ImageFile::open(sparse.path(), {});
  ASSERT_TRUE(image.has_value()) << to_string(image.error());
  const Report report = decode(image->memory(), options_for(*image));
  EXPECT_EQ(report.findings.problems(), 0u) << render_text(report, {});
  EXPECT_EQ(report.map.blocks, 1'000'001u);
  EXPECT_LE(memory.bytes(), MiB(4));
  ::fstat(sparse.fd(), &after);
  // But for the first page, where a file's header would be.
  EXPECT_LE(after.st_blocks, before.st_blocks + static_cast<int64_t>(kPageSize / 512));
}

}  // namespace
}  // namespace causeway::inspect
