// Which errno each command gives under which condition: Linux 7.3, row by row. A row that says `instead` differs
// from it on purpose.
#include <gtest/gtest.h>

#include <fcntl.h>
#include <unistd.h>

#include <cctype>
#include <functional>
#include <ostream>

#include "file/native_file.h"
#include "uapi/testing/client.h"

namespace causeway::uapi::testing {
namespace {

using luo::testing::fake_file;
using luo::testing::LuoSystem;

// Before the update the sessions "full" (tokens 1 and 2) and "empty" were made; after it "full" is retrieved as
// `in`, and `out` is an outgoing session with token 1 in use. `spare` is a descriptor of a file that can be
// preserved.
struct World {
  LuoSystem system;
  std::unique_ptr<Client> client;
  int in = -1, out = -1, spare = -1, ignored = -1;
  alignas(8) std::byte argument[256] = {};

  World() {
    {
      Client old(system.luo());
      EXPECT_EQ(old.open(), 0);
      int fd = -1;
      EXPECT_EQ(old.create("full", &fd), 0);
      EXPECT_EQ(old.preserve(fd, old.task.add(fake_file(1)), 1), 0);
      EXPECT_EQ(old.preserve(fd, old.task.add(fake_file(2)), 2), 0);
      EXPECT_EQ(old.create("empty", &fd), 0);
      must(system.luo().serialize());
      system.generation().commit(hw::HandoverKind::kOrderly);
      // As at a real jump: the old kernel is gone when the descriptors go.
      system.crash();
    }
    client = std::make_unique<Client>(system.luo());
    EXPECT_EQ(client->open(), 0);
    EXPECT_EQ(client->retrieve("full", &in), 0);
    EXPECT_EQ(client->create("out", &out), 0);
    EXPECT_EQ(client->preserve(out, client->task.add(fake_file(100)), 1), 0);
    spare = client->task.add(fake_file(200));
  }

  // The argument of a raw call: bytes of a request, of which `size` says how much.
  template <typename T>
  T* put(T request, uint32_t size = sizeof(T)) {
    request.size = size;
    std::memcpy(argument, &request, sizeof(request));
    return reinterpret_cast<T*>(argument);
  }
  int call(int fd, uint32_t command) { return client->ioctl(fd, command, argument); }
  int device(uint32_t command) { return call(client->control, command); }
  int native(int fd) { return client->task.add(must(file::NativeFile::wrap(UniqueFd(fd)))); }
  int no_descriptors(std::function<int()> then) {
    client->task.max_files = client->task.open_files();
    return then();
  }
  int unwritable(std::function<int()> then) {
    client->task.forbid_writes(argument);
    const int error = then();
    client->task.allow_all();
    return error;
  }
};

struct Row {
  const char* command;
  const char* condition;
  int error;
  std::function<int(World&)> act;
  const char* instead = nullptr;  // what the kernel does
};
void PrintTo(const Row& row, std::ostream* out) {
  *out << row.command << ": " << row.condition;
}

uint32_t with_size_bits(uint32_t command) {
  return command | 72u << 16;
}
const abi::SessionRequest kSession = Client::named("name");
const abi::FdRequest kFd{.size = sizeof(abi::FdRequest), .fd = 0, .token = 5};
constexpr uint32_t kOnDevice[] = {abi::kCreateSession, abi::kRetrieveSession};

const Row kRows[] = {
    // Device, whatever the command, in the order of the checks.
    {"device", "unknown number", EINVAL, [](World& w) { return w.device(abi::liveupdate_command(2)); }},
    {"device", "a session's command", EINVAL, [](World& w) { return w.device(abi::kSessionFinish); }},
    {"device", "unknown number before an unreadable argument", EINVAL,
     [](World& w) { return w.client->ioctl(w.client->control, abi::liveupdate_command(9), nullptr); }},
    {"device", "unreadable argument", EFAULT,
     [](World& w) { return w.client->ioctl(w.client->control, abi::kCreateSession, nullptr); }},
    {"device", "unreadable argument before wrong type", EFAULT,
     [](World& w) { return w.client->ioctl(w.client->control, 0x1200, nullptr); }},
    {"device", "wrong type", ENOTTY, [](World& w) { return w.put(kSession), w.device(0x1200); }},
    {"device", "direction or size bits", ENOTTY,
     [](World& w) { return w.put(kSession), w.device(with_size_bits(abi::kCreateSession)); }},
    {"device", "wrong type before too small", ENOTTY, [](World& w) { return w.put(kSession, 4), w.device(0x1201); }},
    {"device", "too small", EINVAL,
     [](World& w) {
       for (uint32_t size : {0u, 4u, 71u})
         for (uint32_t command : kOnDevice)
           if (w.put(kSession, size), w.device(command) != EINVAL) return -1;
       return EINVAL;
     }},
    {"device", "larger, with a field this kernel does not know", E2BIG,
     [](World& w) { return w.put(kSession, 80), w.argument[79] = std::byte{1}, w.device(abi::kCreateSession); }},
    {"device", "larger, with zeros", 0, [](World& w) { return w.put(kSession, 200), w.device(abi::kCreateSession); }},
    {"device", "unreadable at the second read", EFAULT,
     [](World& w) { return w.put(kSession), w.client->task.reads_left = 1, w.device(abi::kCreateSession); }},
    {"device", "unreadable beyond the known fields", EFAULT,
     [](World& w) { return w.put(kSession, 80), w.client->task.reads_left = 1, w.device(abi::kCreateSession); }},

    {"CREATE_SESSION", "no descriptor left", EMFILE,
     [](World& w) { return w.no_descriptors([&] { return w.client->create("name", &w.ignored); }); }},
    {"CREATE_SESSION", "no descriptor left, before a bad name", EMFILE,
     [](World& w) { return w.no_descriptors([&] { return w.client->create("", &w.ignored); }); }},
    {"CREATE_SESSION", "empty name", EINVAL, [](World& w) { return w.client->create("", &w.ignored); }},
    {"CREATE_SESSION", "no NUL within 64 bytes", EINVAL,
     [](World& w) { return w.client->create(std::string(64, 'X'), &w.ignored); }},
    {"CREATE_SESSION", "63 bytes", 0,
     [](World& w) { return w.client->create(std::string(63, 'X'), &w.ignored); }},
    {"CREATE_SESSION", "name taken", EEXIST, [](World& w) { return w.client->create("out", &w.ignored); }},
    {"CREATE_SESSION", "name of an incoming session", 0,
     [](World& w) { return w.client->create("full", &w.ignored); }},
    {"CREATE_SESSION", "response not writable", EFAULT,
     [](World& w) { return w.put(kSession), w.unwritable([&] { return w.device(abi::kCreateSession); }); }},
    {"CREATE_SESSION", "again after a response that was not writable", 0,
     [](World& w) {
       (void)w.unwritable([&] { return w.put(kSession), w.device(abi::kCreateSession); });
       return w.client->create("name", &w.ignored);
     }},

    {"RETRIEVE_SESSION", "no descriptor left", EMFILE,
     [](World& w) { return w.no_descriptors([&] { return w.client->retrieve("empty", &w.ignored); }); }},
    {"RETRIEVE_SESSION", "unknown name", ENOENT, [](World& w) { return w.client->retrieve("nobody", &w.ignored); }},
    {"RETRIEVE_SESSION", "empty name", ENOENT, [](World& w) { return w.client->retrieve("", &w.ignored); }},
    {"RETRIEVE_SESSION", "no NUL within 64 bytes", ENOENT,
     [](World& w) { return w.client->retrieve(std::string(64, 'X'), &w.ignored); }},
    {"RETRIEVE_SESSION", "an outgoing session", ENOENT, [](World& w) { return w.client->retrieve("out", &w.ignored); }},
    {"RETRIEVE_SESSION", "no incoming data", ENOENT,
     [](World&) {
       LuoSystem cold;
       Client client(cold.luo());
       int fd = -1;
       return client.open() == 0 ? client.retrieve("full", &fd) : -1;
     }},
    {"RETRIEVE_SESSION", "retrieved", EINVAL, [](World& w) { return w.client->retrieve("full", &w.ignored); }},
    {"RETRIEVE_SESSION", "finished and not closed", EINVAL,
     [](World& w) { return w.client->finish(w.in) == 0 ? w.client->retrieve("full", &w.ignored) : -1; }},
    {"RETRIEVE_SESSION", "closed", ENOENT,
     [](World& w) { return w.client->close(w.in), w.client->retrieve("full", &w.ignored); }},
    {"RETRIEVE_SESSION", "response not writable", EFAULT,
     [](World& w) {
       w.put(Client::named("empty"));
       return w.unwritable([&] { return w.device(abi::kRetrieveSession); });
     }},
    {"RETRIEVE_SESSION", "again after a response that was not writable", 0,
     [](World& w) {
       w.put(Client::named("empty"));
       (void)w.unwritable([&] { return w.device(abi::kRetrieveSession); });
       return w.client->retrieve("empty", &w.ignored);
     },
     "ENOENT: the session and its memory are destroyed"},
    {"RETRIEVE_SESSION", "again after there was no descriptor", 0,
     [](World& w) {
       (void)w.no_descriptors([&] { return w.client->retrieve("empty", &w.ignored); });
       w.client->task.max_files = 100;
       return w.client->retrieve("empty", &w.ignored);
     }},

    // Session, whatever the command, in the order of the checks.
    {"session", "unknown number", EINVAL, [](World& w) { return w.call(w.out, abi::liveupdate_command(0x44)); }},
    {"session", "number below", EINVAL, [](World& w) { return w.call(w.out, abi::liveupdate_command(0x3f)); }},
    {"session", "a device's command", EINVAL, [](World& w) { return w.call(w.out, abi::kCreateSession); }},
    {"session", "unreadable argument", EFAULT,
     [](World& w) { return w.client->ioctl(w.out, abi::kSessionFinish, nullptr); }},
    {"session", "size bits", ENOTTY,
     [](World& w) { return w.put(kFd), w.call(w.out, with_size_bits(abi::kSessionPreserveFd)); }},
    {"session", "wrong type before wrong kind of session", ENOTTY,
     [](World& w) { return w.put(kFd), w.call(w.out, 0x1242); }},
    {"session", "wrong kind of session before too large", EINVAL,
     [](World& w) { return w.put(kFd, 32), w.argument[31] = std::byte{1}, w.call(w.out, abi::kSessionRetrieveFd); }},
    {"session", "too small", EINVAL, [](World& w) { return w.put(kFd, 15), w.call(w.out, abi::kSessionPreserveFd); }},
    {"session", "larger, with a field this kernel does not know", E2BIG,
     [](World& w) { return w.put(kFd, 32), w.argument[16] = std::byte{1}, w.call(w.out, abi::kSessionPreserveFd); }},
    {"session", "unreadable at the second read", EFAULT,
     [](World& w) { return w.put(kFd), w.client->task.reads_left = 1, w.call(w.out, abi::kSessionPreserveFd); }},

    {"PRESERVE_FD", "incoming session", EINVAL, [](World& w) { return w.client->preserve(w.in, w.spare, 9); }},
    {"PRESERVE_FD", "token used, before a bad descriptor", EEXIST,
     [](World& w) { return w.client->preserve(w.out, 999, 1); }},
    {"PRESERVE_FD", "bad descriptor", EBADF, [](World& w) { return w.client->preserve(w.out, 999, 9); }},
    {"PRESERVE_FD", "negative descriptor", EBADF, [](World& w) { return w.client->preserve(w.out, -1, 9); }},
    {"PRESERVE_FD", "/dev/null", ENOENT,
     [](World& w) { return w.client->preserve(w.out, w.native(::open("/dev/null", O_RDWR)), 0xDEAD); }},
    {"PRESERVE_FD", "the device itself", ENOENT,
     [](World& w) { return w.client->preserve(w.out, w.client->control, 9); }},
    {"PRESERVE_FD", "another session", ENOENT, [](World& w) { return w.client->preserve(w.out, w.in, 9); }},
    {"PRESERVE_FD", "preserved under another token", EBUSY,
     [](World& w) { return w.client->preserve(w.out, w.client->task.add(fake_file(100)), 9); }},
    {"PRESERVE_FD", "preserved in another session", EBUSY,
     [](World& w) {
       int other = -1;
       return w.client->create("other", &other) == 0
                  ? w.client->preserve(other, w.client->task.add(fake_file(100)), 9)
                  : -1;
     }},
    {"PRESERVE_FD", "retrieved and not finished", EBUSY,
     [](World& w) {
       int fd = -1;
       return w.client->retrieve_fd(w.in, 1, &fd) == 0 ? w.client->preserve(w.out, fd, 9) : -1;
     }},
    {"PRESERVE_FD", "retrieved and finished", 0,
     [](World& w) {
       int fd = -1;
       const bool ready = w.client->retrieve_fd(w.in, 1, &fd) == 0 && w.client->finish(w.in) == 0;
       return ready ? w.client->preserve(w.out, fd, 9) : -1;
     }},
    {"PRESERVE_FD", "the handler's error", EOPNOTSUPP,
     [](World& w) {
       w.system.handler().script.preserve_error = EOPNOTSUPP;
       return w.client->preserve(w.out, w.spare, 9);
     }},
    {"PRESERVE_FD", "response not writable", EFAULT,
     [](World& w) {
       w.put(abi::FdRequest{.fd = w.spare, .token = 9});
       return w.unwritable([&] { return w.call(w.out, abi::kSessionPreserveFd); });
     }},
    {"PRESERVE_FD", "again after a response that was not writable", 0,
     [](World& w) {
       w.put(abi::FdRequest{.fd = w.spare, .token = 9});
       (void)w.unwritable([&] { return w.call(w.out, abi::kSessionPreserveFd); });
       return w.client->preserve(w.out, w.spare, 9);
     },
     "EEXIST: the file stays preserved"},
    {"PRESERVE_FD", "token 0", 0, [](World& w) { return w.client->preserve(w.out, w.spare, 0); }},
    {"PRESERVE_FD", "highest token", 0, [](World& w) { return w.client->preserve(w.out, w.spare, ~uint64_t{0}); }},

    {"RETRIEVE_FD", "outgoing session", EINVAL, [](World& w) { return w.client->retrieve_fd(w.out, 1, &w.ignored); }},
    {"RETRIEVE_FD", "unknown token", ENOENT, [](World& w) { return w.client->retrieve_fd(w.in, 9, &w.ignored); }},
    {"RETRIEVE_FD", "session finished", ENOENT,
     [](World& w) { return w.client->finish(w.in) == 0 ? w.client->retrieve_fd(w.in, 1, &w.ignored) : -1; }},
    {"RETRIEVE_FD", "the handler's error, again without asking it", EXDEV,
     [](World& w) {
       w.system.handler().script.retrieve_error = EXDEV;
       if (w.client->retrieve_fd(w.in, 1, &w.ignored) != EXDEV) return -1;
       w.system.handler().script.retrieve_error = 0;
       return w.client->retrieve_fd(w.in, 1, &w.ignored);
     }},
    {"RETRIEVE_FD", "no descriptor left", EMFILE,
     [](World& w) { return w.no_descriptors([&] { return w.client->retrieve_fd(w.in, 1, &w.ignored); }); }},
    {"RETRIEVE_FD", "no descriptor left, before an unknown token", EMFILE,
     [](World& w) { return w.no_descriptors([&] { return w.client->retrieve_fd(w.in, 9, &w.ignored); }); }},
    {"RETRIEVE_FD", "no descriptor left, and the handler was not asked", 0,
     [](World& w) {
       w.system.handler().script.retrieve_error = EXDEV;
       (void)w.no_descriptors([&] { return w.client->retrieve_fd(w.in, 1, &w.ignored); });
       w.client->task.max_files = 100;
       w.system.handler().script.retrieve_error = 0;
       return w.client->retrieve_fd(w.in, 1, &w.ignored);
     }},
    {"RETRIEVE_FD", "response not writable", EFAULT,
     [](World& w) {
       w.put(abi::FdRequest{.token = 1});
       return w.unwritable([&] { return w.call(w.in, abi::kSessionRetrieveFd); });
     }},
    {"RETRIEVE_FD", "again after a response that was not writable", 0,
     [](World& w) {
       w.put(abi::FdRequest{.token = 1});
       const size_t open = w.client->task.open_files();
       (void)w.unwritable([&] { return w.call(w.in, abi::kSessionRetrieveFd); });
       if (w.client->task.open_files() != open) return -1;
       return w.client->retrieve_fd(w.in, 1, &w.ignored);
     }},

    {"FINISH", "outgoing session", EINVAL, [](World& w) { return w.client->finish(w.out); }},
    {"FINISH", "reserved is not 0", EINVAL,
     [](World& w) { return w.put(abi::FinishRequest{.reserved = 1}), w.call(w.in, abi::kSessionFinish); }},
    {"FINISH", "too small", EINVAL,
     [](World& w) { return w.put(abi::FinishRequest{}, 7), w.call(w.in, abi::kSessionFinish); }},
    {"FINISH", "a handler refuses", EBUSY,
     [](World& w) { return w.system.handler().script.can_finish = false, w.client->finish(w.in); }},
    {"FINISH", "again after a handler refused", 0,
     [](World& w) {
       w.system.handler().script.can_finish = false;
       (void)w.client->finish(w.in);
       w.system.handler().script.can_finish = true;
       return w.client->finish(w.in);
     }},
    {"FINISH", "twice", 0, [](World& w) { return w.client->finish(w.in), w.client->finish(w.in); }},

    {"GET_NAME", "reserved is not 0", EINVAL,
     [](World& w) { return w.put(abi::NameRequest{.reserved = 1}), w.call(w.in, abi::kSessionGetName); }},
    {"GET_NAME", "response not writable", EFAULT,
     [](World& w) {
       w.put(abi::NameRequest{});
       return w.unwritable([&] { return w.call(w.in, abi::kSessionGetName); });
     }},
    {"GET_NAME", "outgoing session", 0,
     [](World& w) { return w.put(abi::NameRequest{}), w.call(w.out, abi::kSessionGetName); }},
    {"GET_NAME", "incoming session", 0,
     [](World& w) { return w.put(abi::NameRequest{}), w.call(w.in, abi::kSessionGetName); }},

    {"open", "open already", EBUSY, [](World& w) { return error_of(w.client->device.open(w.client->task)); }},
    {"open", "closed again", 0, [](World& w) { return w.client->close(w.client->control), w.client->open(); }},
    {"open", "the handover cannot be read", EIO,
     [](World&) {
       LuoSystem system;
       must(must(system.luo().create_session("a"))->preserve(1, fake_file(1)));
       system.kexec({.register_handler = false, .deserialize = false});
       Client client(system.luo());
       return client.open() == EIO ? client.open() : -1;  // each time, and never EBUSY
     }},
    {"open", "LUO is off", ENOENT,
     [](World&) {
       LuoSystem system({.luo = {.enabled = false}});
       return Client(system.luo()).open();
     }},
};

class ErrnoTable : public ::testing::TestWithParam<Row> {};

TEST_P(ErrnoTable, Row) {
  log::set_level(log::Level::kError);
  World world;
  EXPECT_EQ(GetParam().act(world), GetParam().error);
  log::set_level(log::Level::kInfo);
}

INSTANTIATE_TEST_SUITE_P(LiveUpdate, ErrnoTable, ::testing::ValuesIn(kRows), [](const auto& test) {
  std::string name = std::string(test.param.command) + "_" + test.param.condition;
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  return name + (test.param.instead != nullptr ? "_NotAsLinux" : "");
});

}  // namespace
}  // namespace causeway::uapi::testing
