// What a file costs in each step of its way, what a session costs, and what a live update costs on top. The files are
// numbers: this measures LUO alone.
#include <benchmark/benchmark.h>

#include <string>

#include "luo/testing/luo_system.h"

namespace causeway::luo::testing {
namespace {

std::vector<mm::MemRange> large_ram() {
  return {{PhysAddr(0), MiB(32)}, {PhysAddr(GiB(4)), MiB(512)}};
}
// The log of each boot would drown the table.
const BootOptions kNoPages = [] {
  log::set_level(log::Level::kWarn);
  return BootOptions{.pages = false};
}();

SessionRef fill(LuoSystem& system, uint64_t files) {
  SessionRef session = must(system.luo().create_session("vm"));
  for (uint64_t i = 0; i < files; ++i) must(session->preserve(i, fake_file(i)));
  return session;
}
void per_file(benchmark::State& state) {
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * state.range(0));
}

void BM_PreserveAndClose(benchmark::State& state) {
  LuoSystem system(kNoPages, large_ram());
  for (auto _ : state) {
    SessionRef session = fill(system, static_cast<uint64_t>(state.range(0)));
    session->close();
  }
  per_file(state);
}
BENCHMARK(BM_PreserveAndClose)->Arg(10)->Arg(1'000)->Arg(100'000)->Unit(benchmark::kMicrosecond);

void BM_RetrieveAndFinish(benchmark::State& state) {
  const auto files = static_cast<uint64_t>(state.range(0));
  for (auto _ : state) {
    state.PauseTiming();
    {
      LuoSystem system(kNoPages, large_ram());
      fill(system, files);
      system.kexec(kNoPages);
      SessionRef session = must(system.luo().retrieve_session("vm"));
      state.ResumeTiming();
      for (uint64_t i = 0; i < files; ++i) benchmark::DoNotOptimize(must(session->retrieve(i)));
      must(session->finish());
      state.PauseTiming();
    }
    state.ResumeTiming();
  }
  per_file(state);
}
BENCHMARK(BM_RetrieveAndFinish)->Arg(10)->Arg(1'000)->Arg(100'000)->Unit(benchmark::kMicrosecond);

void BM_CreateAndCloseSessions(benchmark::State& state) {
  LuoSystem system(kNoPages, large_ram());
  for (auto _ : state) {
    std::vector<SessionRef> sessions;
    for (int64_t i = 0; i < state.range(0); ++i)
      sessions.push_back(must(system.luo().create_session("s" + std::to_string(i))));
    for (const SessionRef& session : sessions) session->close();
  }
  per_file(state);
}
BENCHMARK(BM_CreateAndCloseSessions)->Arg(1'000)->Arg(100'000)->Unit(benchmark::kMicrosecond);

void BM_SerializeFiles(benchmark::State& state) {
  LuoSystem system(kNoPages, large_ram());
  SessionRef session = fill(system, static_cast<uint64_t>(state.range(0)));
  for (auto _ : state) {
    must(system.luo().serialize());
    system.luo().undo_serialize();
  }
  per_file(state);
}
BENCHMARK(BM_SerializeFiles)->Arg(10)->Arg(1'000)->Arg(100'000)->Unit(benchmark::kMicrosecond);

void BM_SerializeSessions(benchmark::State& state) {
  LuoSystem system(kNoPages, large_ram());
  for (int64_t i = 0; i < state.range(0); ++i) must(system.luo().create_session("s" + std::to_string(i)));
  for (auto _ : state) {
    must(system.luo().serialize());
    system.luo().undo_serialize();
  }
  per_file(state);
}
BENCHMARK(BM_SerializeSessions)->Arg(1'000)->Arg(100'000)->Unit(benchmark::kMicrosecond);

void deserialize(benchmark::State& state, uint64_t sessions, uint64_t files) {
  BootOptions later = kNoPages;
  later.deserialize = false;
  for (auto _ : state) {
    state.PauseTiming();
    {
      LuoSystem system(kNoPages, large_ram());
      if (files > 0) fill(system, files);
      for (uint64_t i = 0; i < sessions; ++i) must(system.luo().create_session("s" + std::to_string(i)));
      system.kexec(later);
      state.ResumeTiming();
      must(system.luo().deserialize());
      state.PauseTiming();
    }
    state.ResumeTiming();
  }
  per_file(state);
}
void BM_DeserializeFiles(benchmark::State& state) { deserialize(state, 0, static_cast<uint64_t>(state.range(0))); }
BENCHMARK(BM_DeserializeFiles)->Arg(10)->Arg(1'000)->Arg(100'000)->Unit(benchmark::kMicrosecond);
void BM_DeserializeSessions(benchmark::State& state) { deserialize(state, static_cast<uint64_t>(state.range(0)), 0); }
BENCHMARK(BM_DeserializeSessions)->Arg(1'000)->Arg(100'000)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace causeway::luo::testing
