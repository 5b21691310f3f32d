// The session carrier with the real orchestrator: files of a fake type, each with a device and its domain.
#include "iommufd/iommu_flb.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/log.h"
#include "iommu/liveupdate/testing/system.h"
#include "luo/orchestrator.h"
#include "luo/testing/fake_handler.h"

namespace causeway::iommufd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using iommu::Carrier;
using iommu::Device;
using iommu::Domain;
using luo::SessionRef;
using luo::testing::fake_file;
using luo::testing::FakeHandler;
using luo::testing::Journal;
using luo::testing::number_of;

constexpr uint64_t kMemory = 0x10'0000;

// File n is device n: preserving it preserves the device's domain and the device.
class DeviceHandler final : public FakeHandler {
 public:
  DeviceHandler(Journal& journal, iommu::testing::Kernel& kernel) : FakeHandler(journal), kernel_(kernel) {}
  Status preserve(luo::FileArgs& args) override {
    CW_TRY(FakeHandler::preserve(args));
    Device& device = kernel_.device(number_of(args.file));
    Domain& domain = kernel_.domain_of(device);
    CW_TRY(kernel_.live_update.preserve_domain(Carrier::kSession, domain));
    Status done = kernel_.live_update.preserve_device(Carrier::kSession, domain, device, 0x5000 + number_of(args.file));
    if (!done.has_value()) kernel_.live_update.unpreserve_domain(domain);
    return done;
  }
  void unpreserve(luo::FileArgs& args) override {
    FakeHandler::unpreserve(args);
    Device& device = kernel_.device(number_of(args.file));
    kernel_.live_update.unpreserve_device(device);
    kernel_.live_update.unpreserve_domain(kernel_.domain_of(device));
  }

 private:
  iommu::testing::Kernel& kernel_;
};

// Remembers where the arrays are.
class NotingFlb final : public luo::Flb {
 public:
  explicit NotingFlb(iommu::LiveUpdate& live_update) : flb_(live_update) {}
  PhysAddr where;
  const char* compatible() const override { return flb_.compatible(); }
  Status preserve(luo::FlbArgs& args) override {
    CW_TRY(flb_.preserve(args));
    where = PhysAddr(args.data);
    return {};
  }
  void unpreserve(luo::FlbArgs& args) override { flb_.unpreserve(args); }
  Status retrieve(luo::FlbArgs& args) override { return flb_.retrieve(args); }
  void finish(luo::FlbArgs& args) override { flb_.finish(args); }

 private:
  IommuFlb flb_;
};

// One kernel after another, with an IOMMU and LUO.
class IommuFlbTest : public ::testing::Test {
 protected:
  IommuFlbTest() { boot(); }
  ~IommuFlbTest() override { shut(); }

  void boot() {
    kernel = std::make_unique<iommu::testing::Kernel>(machine);
    handler = std::make_unique<DeviceHandler>(lines, *kernel);
    flb = std::make_unique<NotingFlb>(kernel->live_update);
    luo = must(luo::Orchestrator::create(*kernel->generation.kho));
    must(luo->publish_outgoing());
    must(luo->register_handler(*handler));
    must(luo->register_flb(*handler, *flb));
    kernel->commit();
    must(luo->deserialize());
    lines.take();
  }
  void shut() {
    luo.reset();
    flb.reset();
    handler.reset();
    kernel.reset();
  }
  void kexec() {
    must(luo->serialize());
    kernel->generation.commit(hw::HandoverKind::kOrderly);
    shut();
    boot();
  }
  // A device with a mapping, owned by a program.
  Device& owned(unsigned number) {
    Device& device = kernel->device(number);
    kernel->map(kernel->unmanaged(device, this), kMemory * number);
    return device;
  }
  SessionRef make(std::string_view name, std::vector<uint64_t> files) {
    SessionRef session = must(luo->create_session(name));
    for (uint64_t number : files) must(session->preserve(number, fake_file(number)));
    return session;
  }
  iommu::LiveUpdate& lu() { return kernel->live_update; }

  kho::TestMachine machine;
  Journal lines;
  std::unique_ptr<iommu::testing::Kernel> kernel;
  std::unique_ptr<DeviceHandler> handler;
  std::unique_ptr<NotingFlb> flb;
  std::unique_ptr<luo::Orchestrator> luo;
};

TEST_F(IommuFlbTest, ArraysLiveAsLongAsFilesNeedThem) {
  Device &one = owned(1), &two = owned(2);
  const uint64_t pages = kernel->pages.pages(), blocks = kernel->preserved();
  EXPECT_EQ(error_of(lu().preserve_domain(Carrier::kSession, kernel->domain_of(one))), ENODATA);
  SessionRef a = make("a", {1});
  EXPECT_EQ(kernel->pages.pages(), pages + 4);
  EXPECT_TRUE(lu().is_preserved(one));
  SessionRef b = make("b", {2});
  EXPECT_EQ(kernel->pages.pages(), pages + 4);
  a->close();
  EXPECT_FALSE(lu().is_preserved(one));
  EXPECT_TRUE(lu().is_preserved(two));
  b->close();
  EXPECT_EQ(kernel->pages.pages(), pages);
  EXPECT_EQ(kernel->preserved(), blocks);
  EXPECT_EQ(error_of(lu().preserve_domain(Carrier::kSession, kernel->domain_of(one))), ENODATA);
}

// In reverse order of preservation, so that a device goes before the domain that a file before it preserved.
TEST_F(IommuFlbTest, SessionGivesUpInReverseOrder) {
  owned(1), owned(2), owned(3);
  SessionRef a = make("a", {1, 2, 3});
  lines.take(), kernel->driver.take_journal();
  log::Capture capture;
  a->close();
  EXPECT_THAT(lines.take(), ElementsAre("unpreserve 3", "unpreserve 2", "unpreserve 1"));
  EXPECT_THAT(kernel->driver.take_journal(),
              ElementsAre("unpreserve 00:03.0", "unpreserve 00:02.0", "unpreserve 00:01.0", "unpreserve unit"));
  EXPECT_FALSE(capture.contains("given up with"));
}

// A file that cannot be preserved leaves neither a device, nor the arrays that were made for it.
TEST_F(IommuFlbTest, Scenario66RefusalLeavesNoUser) {
  if (!has_points()) GTEST_SKIP() << "named points are not compiled in";
  Device& one = owned(1);
  kernel->device(2);  // nobody owns it
  const uint64_t pages = kernel->pages.pages(), blocks = kernel->preserved();
  SessionRef a = must(luo->create_session("a"));
  EXPECT_EQ(error_of(a->preserve(2, fake_file(2))), EINVAL);
  EXPECT_EQ(error_of(luo->get_outgoing(*flb)), ENOENT);
  EXPECT_EQ(kernel->pages.pages(), pages);
  kernel->driver.fail(iommu::testing::FakeDriver::Step::kPreserve, 1, EIO);
  EXPECT_EQ(error_of(a->preserve(1, fake_file(1))), EIO);
  EXPECT_FALSE(lu().is_preserved(one));
  EXPECT_EQ(kernel->pages.pages(), pages);
  {
    FailingStep step("iommu.state.page", ENOMEM, 3);
    EXPECT_EQ(error_of(a->preserve(1, fake_file(1))), ENOMEM);
  }
  EXPECT_EQ(kernel->pages.pages(), pages);
  a->close();
  EXPECT_EQ(kernel->preserved(), blocks);
}

// Given up with its session, and preserved again in another: what the first left is skipped by the next kernel.
TEST_F(IommuFlbTest, Scenario72PreservedAgainInANewSession) {
  owned(1), owned(2);
  SessionRef keeps = make("keeps", {2});
  SessionRef a = make("a", {1});
  EXPECT_EQ(error_of(must(luo->create_session("other"))->preserve(1, fake_file(1))), EBUSY);
  a->close();
  make("b", {1});
  kexec();
  must(luo->get_incoming(*flb));
  std::vector<uint64_t> tokens;
  lu().for_each_device_of(kernel->driver.fake_unit().token(),
                          [&](iommu::abi::DeviceSer& device) { tokens.push_back(device.dma_owner_token); });
  EXPECT_THAT(tokens, ElementsAre(0x5002, 0x5001));
  for (unsigned number : {1u, 2u}) {
    Device& device = kernel->device(number);
    EXPECT_TRUE(kernel->translates(device, kMemory * number));
    EXPECT_EQ(device.group().restored_token(), 0x5000u + number);
  }
}

// A restored device stays its owner's: nobody else gets it, and it stays on its domain.
TEST_F(IommuFlbTest, Scenario83NobodyElseGetsARestoredDevice) {
  owned(1);
  make("vm", {1});
  kexec();
  must(luo->get_incoming(*flb));
  Device& device = kernel->device(1);
  EXPECT_EQ(error_of(device.group().use_default_domain()), EBUSY);
  EXPECT_EQ(error_of(device.group().claim_dma_owner(this)), EPERM);
  // Files of this type cannot be finished until somebody can give the devices back.
  handler->script.can_finish = false;
  SessionRef vm = must(luo->retrieve_session("vm"));
  EXPECT_EQ(must(vm->retrieve(1)), must(vm->retrieve(1)));
  EXPECT_EQ(error_of(vm->finish()), EBUSY);
  EXPECT_TRUE(kernel->translates(device, kMemory));
}

TEST_F(IommuFlbTest, FinishedWithTheLastFileAndReference) {
  owned(1), owned(2);
  make("vm", {1, 2});
  kexec();
  must(luo->get_incoming(*flb));
  Device& device = kernel->device(1);
  const uint64_t pages = kernel->pages.pages();
  SessionRef vm = must(luo->retrieve_session("vm"));
  must(vm->finish());
  EXPECT_NE(lu().find_device(0, device.bdf()), nullptr);  // the reference keeps it
  luo->put_incoming(*flb);
  EXPECT_EQ(lu().find_device(0, device.bdf()), nullptr);
  EXPECT_EQ(kernel->pages.pages(), pages - 4);
  EXPECT_EQ(error_of(luo->get_incoming(*flb)), ENODATA);
  // The tables are the new kernel's now.
  EXPECT_TRUE(kernel->translates(device, kMemory));
  must(kernel->domain_of(device).map(Iova(0x9000), PhysAddr(0x9000), kPageSize, iommu::kRead));
}

TEST_F(IommuFlbTest, NothingWasHandedOver) {
  EXPECT_EQ(error_of(luo->get_incoming(*flb)), ENODATA);
  must(luo->create_session("empty"));
  kexec();
  EXPECT_EQ(error_of(luo->get_incoming(*flb)), ENODATA);
  EXPECT_THAT(lu().damage(), IsEmpty());
}

TEST_F(IommuFlbTest, Scenario81DamageIsRefusedWithItsReasonForGood) {
  owned(1);
  make("vm", {1});
  machine.at<iommu::abi::IommuFlbSer>(flb->where)->device_array_phys += 8;
  kexec();
  EXPECT_EQ(error_of(luo->get_incoming(*flb)), EBADMSG);
  EXPECT_EQ(error_of(luo->get_incoming(*flb)), EBADMSG);
  ASSERT_EQ(lu().damage().size(), 1u);
  EXPECT_NE(lu().damage()[0].find("the session carrier is not taken over: EBADMSG"), std::string::npos);
  EXPECT_EQ(lu().find_device(0, Bdf(0, 1, 0)), nullptr);
  // Finishing gives nothing back of what was refused: the hardware may be reading it.
  must(must(luo->retrieve_session("vm"))->finish());
  EXPECT_EQ(kernel->generation.kho->unrestored().size(), 4u + 2);  // arrays and tables
}

}  // namespace
}  // namespace causeway::iommufd
