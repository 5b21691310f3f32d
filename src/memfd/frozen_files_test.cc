#include "memfd/frozen_files.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/point.h"
#include "memfd/testing/system.h"

namespace causeway::memfd {
namespace {

using namespace testing;
using file::Identity;

// What a client has of it.
struct Client {
  explicit Client(FrozenFiles& frozen) : fd(must(frozen.filter())) {
    mapping = must(Mapping::shared_read_only(fd.get(), 0, file::kFrozenFilterBytes));
  }
  const file::FrozenFilter& filter() const { return *mapping.at<file::FrozenFilter>(0); }
  bool excludes(const Identity& file) const { return filter().excludes(file.device, file.inode); }
  UniqueFd fd;
  Mapping mapping;
};

TEST(FrozenFiles, FilterShowsWhatWasAddedBeforeAndAfterItWasMade) {
  FrozenFiles frozen;
  const Identity before{1, 2}, after{1, 3};
  frozen.add(before);
  Client client(frozen);
  frozen.add(after);
  EXPECT_FALSE(client.excludes(before));
  EXPECT_FALSE(client.excludes(after));
  EXPECT_FALSE(client.filter().is_empty());
  frozen.remove(before);
  frozen.remove(after);
  EXPECT_TRUE(client.excludes(before));
  EXPECT_TRUE(client.excludes(after));
  EXPECT_TRUE(client.filter().is_empty());
  EXPECT_EQ(frozen.size(), 0u);
}

TEST(FrozenFiles, FileIsFrozenUntilRemovedAsOftenAsAdded) {
  FrozenFiles frozen;
  Client client(frozen);
  const Identity file{7, 8};
  frozen.add(file);
  frozen.add(file);
  frozen.remove(file);
  EXPECT_TRUE(frozen.contains(file));
  EXPECT_FALSE(client.excludes(file));
  frozen.remove(file);
  EXPECT_FALSE(frozen.contains(file));
  EXPECT_TRUE(client.excludes(file));
  frozen.remove(file);  // never added: nothing happens
  EXPECT_EQ(frozen.size(), 0u);
}

TEST(FrozenFiles, FilterIsExactEnoughForManyFiles) {
  FrozenFiles frozen;
  Client client(frozen);
  for (uint64_t inode = 0; inode < 100'000; inode += 50) frozen.add({26, inode});
  unsigned asked = 0;
  for (uint64_t inode = 0; inode < 100'000; ++inode) {
    const bool excluded = client.excludes({26, inode});
    EXPECT_FALSE(excluded && frozen.contains({26, inode})) << inode;
    asked += !excluded;
  }
  EXPECT_LT(asked, 100'000u / 4);
}

TEST(FrozenFiles, RetiredFilterExcludesNothing) {
  FrozenFiles frozen;
  Client client(frozen);
  frozen.retire();
  EXPECT_FALSE(client.excludes({1, 2}));
  EXPECT_FALSE(client.filter().is_empty());
  frozen.unretire();
  EXPECT_TRUE(client.excludes({1, 2}));
  EXPECT_TRUE(client.filter().is_empty());
}

TEST(FrozenFiles, ClientsCannotWriteToTheFilter) {
  FrozenFiles frozen;
  Client client(frozen);
  EXPECT_FALSE(Mapping::shared(client.fd.get(), 0, file::kFrozenFilterBytes));
  UniqueFd writing(::open(("/proc/self/fd/" + std::to_string(client.fd.get())).c_str(), O_RDWR | O_CLOEXEC));
  if (writing) {
    EXPECT_FALSE(Mapping::shared(writing.get(), 0, file::kFrozenFilterBytes));
    EXPECT_EQ(::ftruncate(writing.get(), 0), -1);
    EXPECT_EQ(::pwrite(writing.get(), "x", 1, 0), -1);
  }
  frozen.add({1, 2});
  EXPECT_FALSE(client.excludes({1, 2}));
}

TEST(FrozenFiles, AFileIsFrozenFromPreserveToUnpreserve) {
  System system;
  UniqueFd fd = make_memfd(kPageSize), empty = make_memfd(0);
  const Identity file = open_file(fd)->identity();
  luo::FileArgs args = preserve(system, fd), nothing = preserve(system, empty);
  EXPECT_TRUE(system.frozen().contains(file));
  EXPECT_TRUE(system.frozen().contains(open_file(empty)->identity()));
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE), -1);
  EXPECT_EQ(errno, EBUSY) << "the machine has it mapped";
  system.handler().unpreserve(args);
  system.handler().unpreserve(nothing);
  EXPECT_EQ(system.frozen().size(), 0u);
}

TEST(FrozenFiles, AFileThatCouldNotBePreservedIsFree) {
  System system;
  UniqueFd fd = make_memfd(kPageSize);
  luo::FileArgs args;
  args.file = open_file(fd);
  if (!point::arm("memfd.preserve.before_array=fail:1")) GTEST_SKIP() << "built without points";
  EXPECT_FALSE(system.handler().preserve(args));
  point::disarm_all();
  EXPECT_EQ(system.frozen().size(), 0u);
}

TEST(FrozenFiles, ARetrievedFileIsFree) {
  System system;
  UniqueFd fd = make_memfd(kPageSize);
  luo::FileArgs args = preserve(system, fd);
  const uint64_t record = freeze(system, args);
  system.kexec();
  Retrieved file = retrieve(system, record);
  EXPECT_FALSE(system.frozen().contains(open_file(fd)->identity()));
  system.handler().finish(file.args);
  EXPECT_EQ(system.frozen().size(), 0u);
}

}  // namespace
}  // namespace causeway::memfd
