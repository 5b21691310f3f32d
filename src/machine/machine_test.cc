#include "machine/machine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/log.h"
#include "hw/stream_record.h"
#include "machine/testing/mini_driver.h"

namespace causeway::machine {
namespace {

using namespace testing;
namespace control = hw::control;

MachineConfig small() {
  MachineConfig config;
  config.ram = MiB(16);
  return config;
}

std::string unique_name() {
  static int counter = 0;
  return "causeway-test-" + std::to_string(::getpid()) + "-" + std::to_string(counter++);
}

TEST(Machine, BadConfigurationsAreEinval) {
  MachineConfig twice = small(), odd = small(), lonely = small(), other_bus = small();
  twice.devices = {DeviceSpec{}, DeviceSpec{}};
  odd.ram = MiB(12);
  lonely.devices = {{DeviceKind::kDmaEngine, Bdf(0, 3, 1), 64}};
  other_bus.devices = {{DeviceKind::kDmaEngine, Bdf(1, 0, 0), 64}};
  for (const MachineConfig& config : {twice, odd, lonely, other_bus}) {
    auto machine = Machine::create(config);
    ASSERT_FALSE(machine);
    EXPECT_EQ(machine.error().code, Errno{EINVAL});
  }
}

TEST(Machine, WithoutDevicesIsAMachineToo) {
  MachineConfig config = small();
  config.devices.clear();
  auto machine = *Machine::create(config);
  RawKernel kernel(machine->connect());
  EXPECT_EQ(kernel.read(kernel.config(Bdf(0, 1, 0)), 2), hw::pci::kNoVendor);
}

#if !defined(__SANITIZE_THREAD__)
TEST(Machine, TerabyteOfSparseRamCostsNothing) {
  MachineConfig config;
  config.ram = GiB(1024);
  auto machine = *Machine::create(config);
  RawKernel kernel(machine->connect());
  EXPECT_EQ(kernel.regions()[1].size, GiB(1022));
  RawRegisters registers(kernel);
  MiniDriver driver(registers);
  driver.set_up(regs::kWorkQueue, PhysAddr{GiB(1000)}, 4);
  EXPECT_EQ(driver.run(regs::kWorkQueue, fill(1, GiB(1025), 64)).status, regs::TransferStatus::kOk);
}
#endif

TEST(Machine, AttachCountsGenerations) {
  auto machine = *Machine::create(small());
  for (uint32_t generation = 1; generation <= 3; ++generation) {
    RawKernel kernel(machine->connect());
    EXPECT_EQ(kernel.generation(), generation);
    EXPECT_EQ(kernel.header().generation.load(), generation);
    EXPECT_EQ(kernel.header().magic, hw::kBusMagic);
  }
  EXPECT_EQ(machine->generation(), 3u);
}

TEST(Machine, StatusHasALineForEverything) {
  MachineConfig config = small();
  for (unsigned i = 2; i < 12; ++i) config.devices.push_back({DeviceKind::kDmaEngine, Bdf(0, i, 0), 64});
  auto machine = *Machine::create(config);
  UniqueFd socket = machine->connect();
  std::string text;
  uint64_t total;
  do {
    auto answer = control_call(socket.get(), control::Op::kStatus, text.size());
    ASSERT_EQ(answer.reply.error, 0);
    text += answer.reply.text;
    total = answer.reply.value;
  } while (text.size() < total);
  EXPECT_GT(total, control::kReplyText) << "the test wants a text of several pieces";
  for (const char* line :
       {"machine.generation=0\n", "machine.ram=16777216\n", "dma0.bdf=00:01.0\n", "dma0.epoch=0\n",
        "dma10.stream.max_late_ns=0\n", "dma3.work.comp_tail=0\n", "dma0.stream.starved_ns=0\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line;
}

TEST(Machine, DestructionStopsARunningStream) {
  auto machine = *Machine::create(small());
  RawKernel kernel(machine->connect());
  RawRegisters registers(kernel);
  MiniDriver driver(registers);
  driver.set_up_stream(PhysAddr{0x100000}, 4, 1'000'000, 64);
  machine.reset();
  char byte;
  auto packet = hw::receive_packet(kernel.control(), &byte, 1);
  EXPECT_EQ(packet.error().code, Errno{ECONNRESET}) << "clients learn it from their sockets";
}

TEST(Machine, PowerOffClosesEveryConnectionAndNoNewOneIsMade) {
  auto machine = *Machine::create(small());
  UniqueFd one = machine->connect(), two = machine->connect();
  EXPECT_EQ(control_call(one.get(), control::Op::kPowerOff).reply.error, 0);
  char byte;
  EXPECT_FALSE(hw::receive_packet(two.get(), &byte, 1));
  pollfd polled{machine->power_off_fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&polled, 1, 10'000), 1);
  EXPECT_FALSE(machine->connect());
  machine->power_off();
}

class Control : public ::testing::Test {
 protected:
  int32_t error_of(control::Op op, uint64_t value = 0, uint64_t argument = 0, int fd = -1) {
    return control_call(socket.get(), op, value, argument, fd).reply.error;
  }
  log::Capture quiet;
  std::unique_ptr<Machine> machine = *Machine::create(small());
  UniqueFd socket = machine->connect();
};

TEST_F(Control, BadRequestsAreErrorsAndTheConnectionLives) {
  EXPECT_EQ(error_of(control::Op{0}), EOPNOTSUPP);
  EXPECT_EQ(error_of(control::Op{77}), EOPNOTSUPP);
  EXPECT_EQ(error_of(control::Op::kGetFd, 55), ENOENT);
  EXPECT_EQ(error_of(control::Op::kGetFd, uint64_t{1} << 32), ENOENT) << "not fd_id 0";
  EXPECT_EQ(error_of(control::Op::kHotAdd, kPageSize), EINVAL) << "no descriptor";
  EXPECT_EQ(error_of(control::Op::kHotAdd, kPageSize, 0, socket.get()), EINVAL) << "not a file";
  EXPECT_EQ(error_of(control::Op::kRemove, 0), EBUSY);
  EXPECT_EQ(error_of(control::Op::kRemove, uint64_t{1} << 32), ENOENT);
  EXPECT_EQ(error_of(control::Op::kInject, 9, 1), EINVAL);
  EXPECT_EQ(error_of(control::Op::kStatus), 0);
}

TEST_F(Control, AnObserverReadsTheBusAndIsNoGeneration) {
  RawKernel kernel(machine->connect());
  auto observed = control_call(socket.get(), control::Op::kObserve);
  ASSERT_EQ(observed.reply.error, 0);
  EXPECT_EQ(observed.reply.value, hw::kBusSize);
  Mapping bus = *Mapping::shared_read_only(observed.fd.get(), 0, hw::kBusSize);
  EXPECT_EQ(bus.at<hw::BusHeader>(0)->magic, hw::kBusMagic);
  EXPECT_EQ(bus.at<hw::BusHeader>(0)->generation.load(), kernel.generation());
  EXPECT_FALSE(Mapping::shared(observed.fd.get(), 0, hw::kBusSize).has_value()) << "writable";
}

TEST_F(Control, OtherVersionsAndSizesAreEproto) {
  control::Request request{2, control::Op::kStatus, 0, 0};
  control::Reply reply;
  ASSERT_TRUE(hw::send_packet(socket.get(), &request, sizeof request));
  ASSERT_TRUE(hw::receive_packet(socket.get(), &reply, sizeof reply));
  EXPECT_EQ(reply.error, EPROTO);
  EXPECT_STREQ(reply.text, "the machine speaks version 1 of the control protocol");
  for (size_t size : {size_t{1}, sizeof request - 1, sizeof request + 100}) {
    std::vector<char> bytes(size);
    ASSERT_TRUE(hw::send_packet(socket.get(), bytes.data(), size));
    ASSERT_TRUE(hw::receive_packet(socket.get(), &reply, sizeof reply));
    EXPECT_EQ(reply.error, EPROTO) << size;
  }
  EXPECT_EQ(error_of(control::Op::kStatus), 0);
}

TEST_F(Control, PeerThatNeverReadsIsDroppedAndOthersGoOn) {
  UniqueFd deaf = machine->connect();
  control::Request request{control::kProtocolVersion, control::Op::kStatus, 0, 0};
  // Until the machine gives up on it.
  for (int i = 0; i < 100'000 && hw::send_packet(deaf.get(), &request, sizeof request); ++i) {
  }
  EXPECT_EQ(error_of(control::Op::kStatus), 0);
}

TEST_F(Control, PeerThatVanishesDoesNotMatter) {
  for (int i = 0; i < 20; ++i) {
    UniqueFd peer = machine->connect();
    control::Request request{control::kProtocolVersion, control::Op::kAttach, 0, 0};
    if (i % 2 == 0) (void)hw::send_packet(peer.get(), &request, sizeof request);
  }
  EXPECT_EQ(error_of(control::Op::kStatus), 0);
}

TEST_F(Control, HotAddedMemoryIsPublishedAndReachableByItsFdId) {
  RawKernel kernel(machine->connect());
  UniqueFd memory(::memfd_create("client", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(memory.get(), kPageSize), 0);
  auto added = control_call(socket.get(), control::Op::kHotAdd, kPageSize, 0, memory.get());
  ASSERT_EQ(added.reply.error, 0);
  EXPECT_EQ(added.reply.index, 2u);
  EXPECT_EQ(kernel.regions()[2].base, added.reply.value);
  kernel.map_ram();
  *kernel.ram(PhysAddr{added.reply.value + 9}) = std::byte{8};
  Mapping client = *Mapping::shared(memory.get(), 0, kPageSize);
  EXPECT_EQ(client.data()[9], std::byte{8});
  EXPECT_EQ(error_of(control::Op::kRemove, 2), 0);
}

TEST_F(Control, AbstractNameServesProcessesAndIsTakenOnce) {
  std::string name = unique_name();
  ASSERT_TRUE(machine->listen(name));
  RawKernel kernel(connect_abstract(name));
  EXPECT_EQ(kernel.generation(), 1u);
  auto other = *Machine::create(small());
  EXPECT_EQ(other->listen(name).error().code, Errno{EADDRINUSE});
  EXPECT_EQ(other->listen("").error().code, Errno{EINVAL});
  EXPECT_EQ(other->listen(std::string(108, 'x')).error().code, Errno{EINVAL});
}

// The program itself, as a process.
class Program {
 public:
  explicit Program(std::vector<std::string> arguments) {
    int out[2], err[2];
    EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(err, O_CLOEXEC), 0);
    output_.reset(out[0]);
    errors_.reset(err[0]);
    UniqueFd output_end(out[1]), error_end(err[1]);
    arguments.insert(arguments.begin(), CW_MACHINE_PROGRAM);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
    EXPECT_EQ(::posix_spawn(&pid_, CW_MACHINE_PROGRAM, &actions, nullptr, argv.data(), environ), 0);
    ::posix_spawn_file_actions_destroy(&actions);
  }
  ~Program() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      (void)wait();
    }
  }
  pid_t pid() const { return pid_; }
  std::string read_line() { return read(output_.get(), '\n'); }
  std::string all_errors() { return read(errors_.get(), -1); }
  std::string all_output() { return read(output_.get(), -1); }
  // The exit status; 128 + signal if one ended it.
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  static std::string read(int fd, int end) {
    std::string text;
    for (char c; ::read(fd, &c, 1) == 1 && c != end;) text += c;
    return text;
  }
  pid_t pid_ = -1;
  UniqueFd output_, errors_;
};

TEST(MachineProgram, EndsCleanlyOnSignalsAndPowerOff) {
  for (int signal : {SIGTERM, SIGINT, 0}) {
    std::string name = unique_name();
    Program program({"--listen", name, "--ram", "16M"});
    ASSERT_EQ(program.read_line(), "ready");
    if (signal != 0) {
      ::kill(program.pid(), signal);
    } else {
      EXPECT_EQ(control_call(connect_abstract(name).get(), control::Op::kPowerOff).reply.error, 0);
    }
    EXPECT_EQ(program.wait(), 0) << signal;
    EXPECT_EQ(program.all_errors(), "");
  }
}

TEST(MachineProgram, TakesSizeAndDevicesFromItsOptions) {
  std::string name = unique_name();
  Program program({"--listen", name, "--ram", "1G", "--device", "dma", "--device", "dma@00:09.0,width=32"});
  ASSERT_EQ(program.read_line(), "ready");
  RawKernel kernel(connect_abstract(name));
  EXPECT_EQ(kernel.regions()[0].size, MiB(512));
  EXPECT_EQ(RawRegisters(kernel, Bdf(0, 9, 0)).read32(regs::kAddressWidth), 32u);
}

TEST(MachineProgram, UsageErrorsAreTwoAndFailuresOne) {
  for (std::vector<std::string> arguments : {std::vector<std::string>{},
                                             {"--listen"},
                                             {"--nonsense"},
                                             {"--ram", "x"},
                                             {"--listen", "a", "--device", "gpu"},
                                             {"--listen", "a", "extra"}}) {
    Program program(arguments);
    EXPECT_EQ(program.wait(), 2);
    EXPECT_NE(program.all_errors(), "");
  }
  Program odd({"--listen", unique_name(), "--ram", "12M"});
  EXPECT_EQ(odd.wait(), 1);
  EXPECT_NE(odd.all_errors().find("multiple of 8 MiB"), std::string::npos);
  Program help({"--help"});
  EXPECT_EQ(help.wait(), 0);
  EXPECT_NE(help.all_output().find("example:"), std::string::npos);
}

TEST(MachineProgram, DiesWithItsParent) {
  std::string name = unique_name();
  // A shell is the parent, and ends when its input does.
  std::string command = std::string(CW_MACHINE_PROGRAM) + " --listen " + name +
                        " --ram 8M --die-with-parent >/dev/null & read line";
  FILE* shell = ::popen(command.c_str(), "we");
  ASSERT_NE(shell, nullptr);
  EXPECT_TRUE(eventually([&] { return static_cast<bool>(connect_abstract(name)); }));
  ::pclose(shell);
  EXPECT_TRUE(eventually([&] { return !connect_abstract(name); }));
}

constexpr PhysAddr kRings{0x10'0000};
constexpr uint64_t kBuffers = 0x40'0000;
constexpr unsigned kLog2 = 12;
constexpr uint32_t kRecord = 256;

// What the doomed kernel does: starts a stream, says so, then writes registers until it is killed.
[[noreturn]] void run_doomed_kernel(const std::string& name, int ready) {
  RawKernel kernel(connect_abstract(name));
  RawRegisters registers(kernel);
  MiniDriver driver(registers);
  driver.set_up_stream(kRings, kLog2, 20'000, kRecord, static_cast<uint32_t>(regs::OverrunHold::make(1)));
  for (uint64_t i = 0; i < 1u << kLog2; ++i)
    driver.put(regs::kStreamQueue, buffer(kBuffers + i * kRecord, kRecord, kBuffers + i * kRecord));
  driver.ring_doorbell(regs::kStreamQueue);
  kernel.flush();
  [[maybe_unused]] ssize_t written = ::write(ready, "x", 1);
  while (true) {
    registers.write32(regs::kAddressWidth, 64);
    kernel.write(kernel.config(Bdf(0, 1, 0)) + hw::pci::kCommand, 6, 2);
  }
}

TEST(MachineProgram, KernelKilledWhileItWritesRegistersLeavesTheStreamRunning) {
  std::string name = unique_name();
  Program program({"--listen", name, "--ram", "64M"});
  ASSERT_EQ(program.read_line(), "ready");
  uint64_t next = 0;
  for (uint32_t generation = 1; generation <= 9; generation += 2) {
    int pipes[2];
    ASSERT_EQ(::pipe2(pipes, O_CLOEXEC), 0);
    UniqueFd reader(pipes[0]), writer(pipes[1]);
    if (generation == 1) {
      pid_t child = ::fork();
      if (child == 0) run_doomed_kernel(name, writer.get());
      char byte;
      ASSERT_EQ(::read(reader.get(), &byte, 1), 1);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    } else {
      // Later ones only write registers, and die at another moment each.
      pid_t child = ::fork();
      if (child == 0) {
        RawKernel kernel(connect_abstract(name));
        [[maybe_unused]] ssize_t written = ::write(writer.get(), "x", 1);
        while (true) kernel.write(kernel.config(Bdf(0, 1, 0)) + hw::pci::kCommand, 6, 2);
      }
      char byte;
      ASSERT_EQ(::read(reader.get(), &byte, 1), 1);
      std::this_thread::sleep_for(std::chrono::microseconds(300 * generation));
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }

    RawKernel kernel(connect_abstract(name));
    EXPECT_EQ(kernel.generation(), generation + 1);
    RawRegisters registers(kernel);
    MiniDriver driver(registers);
    driver.adopt(regs::kStreamQueue, kRings, kLog2);
    for (int i = 0; i < 200; ++i, ++next) {
      auto done = driver.wait(regs::kStreamQueue);
      ASSERT_EQ(done.sequence, next);
      ASSERT_EQ(done.status, regs::TransferStatus::kOk);
      ASSERT_EQ(regs::check_record(kernel.ram(PhysAddr{done.cookie}), kRecord, next),
                regs::RecordFault::kNone);
      driver.post(regs::kStreamQueue, buffer(done.cookie, kRecord, done.cookie));
    }
  }
}

}  // namespace
}  // namespace causeway::machine
