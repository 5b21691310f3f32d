// causeway-machine: the machine as a process of its own.
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include <cstdio>
#include <string>
#include <string_view>

#include "base/log.h"
#include "base/point.h"
#include "machine/machine.h"

namespace {

using namespace causeway;

constexpr const char* kUsage = R"(usage: causeway-machine --listen NAME [OPTION]...

Memory, a PCI bus and devices that keep running while kernels come and go.

  --listen NAME       serve kernels of this user on the abstract socket NAME
  --ram SIZE          boot RAM, a multiple of 8M (default 256M); sparse
  --device SPEC       add a device; may be repeated (default: one dma at 00:01.0); none: no device at all
                        dma[@00:DD.F][,width=32|40|64][,ats=0|1][,pasid=BITS]
                        nvme[@00:DD.F][,file=PATH][,size=SIZE][,lba=512|4096][,queues=1..16][,cmb=SIZE|0]
                            [,shuffle=0|1][,latency_us=N][,ats=0|1][,pasid=BITS]
                            on a file that exists (with a size: made and grown), else on 64M of memory
  --iommu SPEC        add an IOMMU; may be repeated (default: none)
                        vtd[,scalable=0|1][,first_stage=0|1][,aw=39|48|57][,domains=16|64|..|65536]
                           [,caching_mode=0|1][,coherent=0|1][,rwbf=0|1][,faults=N][,qi=0|1][,ats=0|1]
                           [,prs=0|1][,esrtps=0|1][,strict=N][,scope=all|00:DD.F+00:DD.F...]
  --die-with-parent   end when the thread that started this program ends
  --verbose           log what kernels do to the devices
  --point NAME=ACTION arm a named point (test builds): kill, fail or pause, optionally :N
  --help              this text

Prints "ready" when it is up, and ends on SIGTERM, SIGINT or a power-off message.

example: causeway-machine --listen demo --ram 1G --device dma --device dma,width=32
)";

struct Options {
  std::string name;
  machine::MachineConfig config;
  bool die_with_parent = false;
};

int usage_error(const std::string& what) {
  fmt::print(stderr, "causeway-machine: {}; see causeway-machine --help\n", what);
  return 2;
}

// -1: go on; else the exit status.
int parse(int argc, char** argv, Options& options) {
  enum { kListen = 1, kRam, kDevice, kIommu, kDieWithParent, kVerbose, kPoint, kHelp };
  static const option kOptions[] = {
      {"listen", required_argument, nullptr, kListen},
      {"ram", required_argument, nullptr, kRam},
      {"device", required_argument, nullptr, kDevice},
      {"iommu", required_argument, nullptr, kIommu},
      {"die-with-parent", no_argument, nullptr, kDieWithParent},
      {"verbose", no_argument, nullptr, kVerbose},
      {"point", required_argument, nullptr, kPoint},
      {"help", no_argument, nullptr, kHelp},
      {},
  };
  std::vector<machine::DeviceSpec> devices;
  for (int opt; (opt = ::getopt_long(argc, argv, "", kOptions, nullptr)) != -1;) {
    switch (opt) {
      case kListen:
        options.name = optarg;
        break;
      case kRam: {
        auto size = machine::parse_size(optarg);
        if (!size) return usage_error(fmt::format("--ram {}: {}", optarg, size.error().message));
        options.config.ram = *size;
        break;
      }
      case kDevice: {
        if (optarg == std::string_view("none")) {
          options.config.devices.clear();
          break;
        }
        auto spec = machine::parse_device_spec(optarg, devices);
        if (!spec) return usage_error(fmt::format("--device {}: {}", optarg, spec.error().message));
        devices.push_back(*spec);
        break;
      }
      case kIommu: {
        auto spec = machine::parse_iommu_spec(optarg);
        if (!spec) return usage_error(fmt::format("--iommu {}: {}", optarg, spec.error().message));
        options.config.iommus.push_back(*spec);
        break;
      }
      case kDieWithParent:
        options.die_with_parent = true;
        break;
      case kVerbose:
        log::set_level(log::Level::kDebug);
        break;
      case kPoint:
        if (auto armed = point::arm(optarg); !armed)
          return usage_error(fmt::format("--point {}: {}", optarg, armed.error().message));
        break;
      case kHelp:
        std::fputs(kUsage, stdout);
        return 0;
      default:
        return 2;  // getopt has said why
    }
  }
  if (optind < argc) return usage_error(fmt::format("unexpected argument '{}'", argv[optind]));
  if (options.name.empty()) return usage_error("no --listen NAME given");
  if (!devices.empty()) options.config.devices = devices;
  return -1;
}

}  // namespace

int main(int argc, char** argv) {
  pid_t parent = ::getppid();
  Options options;
  if (int status = parse(argc, argv, options); status >= 0) return status;
  if (options.die_with_parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) return 0;  // it died before the signal was asked for
  }

  // Every hot-added region is a descriptor here.
  rlimit files;
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }

  // Blocked before any thread exists, so that only the signalfd sees them.
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  UniqueFd signal_fd(::signalfd(-1, &signals, SFD_CLOEXEC));

  auto machine = machine::Machine::create(options.config);
  if (!machine) {
    fmt::print(stderr, "causeway-machine: cannot start: {}\n", to_string(machine.error()));
    return 1;
  }
  if (auto listening = (*machine)->listen(options.name); !listening) {
    fmt::print(stderr, "causeway-machine: cannot serve '{}': {}; is another machine using the name?\n",
               options.name, to_string(listening.error()));
    return 1;
  }
  std::puts("ready");
  std::fflush(stdout);

  pollfd waiting[] = {{signal_fd.get(), POLLIN, 0}, {(*machine)->power_off_fd(), POLLIN, 0}};
  while (::poll(waiting, 2, -1) < 0 && errno == EINTR) {
  }
  return 0;
}
