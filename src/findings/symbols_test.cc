#include "findings/symbols.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <link.h>

namespace causeway::findings {
namespace {

const std::string kFixture = CW_FINDINGS_FIXTURE;

class SymbolsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    library_ = ::dlopen(kFixture.c_str(), RTLD_NOW);
    ASSERT_NE(library_, nullptr) << ::dlerror();
    link_map* map = nullptr;
    ASSERT_EQ(::dlinfo(library_, RTLD_DI_LINKMAP, &map), 0);
    bias_ = map->l_addr;
  }
  void TearDown() override {
    if (library_ != nullptr) ::dlclose(library_);
  }
  uint64_t address_of_call() {
    auto pc = reinterpret_cast<const void* (*)()>(::dlsym(library_, "fixture_pc"));
    return reinterpret_cast<uint64_t>(pc()) - bias_ - 1;
  }
  uint64_t address_of_variable(int which) {
    auto variable = reinterpret_cast<const void* (*)(int)>(::dlsym(library_, "fixture_variable"));
    return reinterpret_cast<uint64_t>(variable(which)) - bias_;
  }

  void* library_ = nullptr;
  uint64_t bias_ = 0;
  Symbols symbols_;
};

TEST_F(SymbolsTest, AnInlinedCallIsALineOfItsOwn) {
  const Trace& lines = symbols_.code(kFixture, address_of_call(), "");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].function, "fixture::inner");
  EXPECT_TRUE(lines[0].inlined);
  EXPECT_EQ(lines[0].line, 30u);
  EXPECT_EQ(lines[1].function, "fixture::outer");
  EXPECT_FALSE(lines[1].inlined);
  EXPECT_EQ(lines[1].line, 34u);
  EXPECT_TRUE(lines[1].file.ends_with("testing/fixture_main.cc")) << lines[1].file;
  EXPECT_EQ(lines[1].module, kFixture);
  EXPECT_FALSE(lines[1].build_id.empty());
}

TEST_F(SymbolsTest, VariablesAndTheirMembersHaveNames) {
  EXPECT_EQ(symbols_.data(kFixture, address_of_variable(0), ""), "fixture::plain");
  EXPECT_EQ(symbols_.data(kFixture, address_of_variable(1), ""), "fixture::hidden");
  EXPECT_EQ(symbols_.data(kFixture, address_of_variable(2), ""), "fixture::cache.mu");
  EXPECT_EQ(symbols_.data(kFixture, address_of_variable(3), ""), "fixture::cache.entries[2].lock");
  EXPECT_EQ(symbols_.data(kFixture, address_of_variable(4), ""), "fixture::cache.ready");
  EXPECT_EQ(symbols_.data(kFixture, address_of_variable(5), ""), "fixture::cache.lock") << "of the base class";
  EXPECT_EQ(symbols_.data(kFixture, 0x10, ""), std::nullopt);
}

TEST_F(SymbolsTest, AnotherFileThanTheOneThatRanIsNotTrusted) {
  const Trace& lines = symbols_.code(kFixture, address_of_call(), "0123456789");
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].function, "");
  EXPECT_EQ(lines[0].line, 0u);
  EXPECT_EQ(lines[0].offset, address_of_call());
  EXPECT_EQ(symbols_.data(kFixture, address_of_variable(0), "0123456789"), std::nullopt);
}

TEST_F(SymbolsTest, AFileThatIsGoneGivesModuleAndOffset) {
  for (const char* path : {"/nowhere/lib.so", "", "relative", "/proc/self/mem"}) {
    const Trace& lines = symbols_.code(path, 0x1234, "");
    ASSERT_EQ(lines.size(), 1u) << path;
    EXPECT_EQ(lines[0].function, "") << path;
    EXPECT_EQ(lines[0].offset, 0x1234u);
  }
}

TEST(Demangled, LeavesOutParameters) {
  EXPECT_EQ(demangled("_ZN2ns1fEic"), "ns::f");
  EXPECT_EQ(demangled("main"), "main");
  EXPECT_EQ(demangled("a"), "a") << "also the code of a type";
  EXPECT_EQ(demangled("_ZN12_GLOBAL__N_13runEv"), "(anonymous namespace)::run");
  EXPECT_EQ(demangled("_ZN1AclEi"), "A::operator()");
  EXPECT_EQ(demangled("_ZNK1A3getEv"), "A::get");
  EXPECT_EQ(demangled("_ZZ4mainENKUlvE_clEv"), "main::{lambda#1}::operator()");
  EXPECT_EQ(demangled("_ZN10lock_guardI5mutexEC1ERS0_"), "lock_guard<mutex>::lock_guard");
}

TEST(IsWrapper, GoesByTheNameOfTheFunction) {
  EXPECT_TRUE(is_wrapper("std::mutex::lock"));
  EXPECT_TRUE(is_wrapper("std::lock_guard<std::mutex>::lock_guard"));
  EXPECT_TRUE(is_wrapper("pthread_mutex_lock"));
  EXPECT_TRUE(is_wrapper("__gthread_mutex_lock"));
  EXPECT_TRUE(is_wrapper("std::condition_variable::wait<main()::{lambda()#1}>"));
  EXPECT_FALSE(is_wrapper("lock"));
  EXPECT_FALSE(is_wrapper("my::mutex::lock"));
  EXPECT_FALSE(is_wrapper(""));
}

}  // namespace
}  // namespace causeway::findings
