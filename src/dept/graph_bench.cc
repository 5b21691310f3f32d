// What the graph costs: the question that every new chain asks, edges of a program that grows, circles.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "dept/graph.h"

namespace causeway::dept {
namespace {

struct World {
  World() : graph(arena, nullptr) {
    if (arena.create(-1, {}) != 0) abort();
  }
  ObjectId object(uint32_t key) {
    ObjectId id;
    Object* o = arena.add<Object>(&id);
    o->key = key;
    o->address = key * 64;
    o->kind = Kind::kMutex;
    return id;
  }
  Arena arena;
  Graph graph;
};

Witness owned(unsigned thread, ObjectId from, ObjectId to) {
  return {.thread = ThreadId(thread), .from_object = from, .to_object = to, .flags = Witness::kOwned};
}

void BM_WantsKnown(benchmark::State& state) {
  World world;
  std::vector<ObjectId> objects;
  for (uint32_t i = 0; i < 200; ++i) objects.push_back(world.object(i + 1));
  std::vector<Witness> witnesses;
  for (size_t i = 0; i + 1 < objects.size(); ++i) {
    witnesses.push_back(owned(1, objects[i], objects[i + 1]));
    world.graph.depend(world.graph.class_of(objects[i], Event::kWrite), world.graph.class_of(objects[i + 1], Event::kWrite),
                       witnesses.back());
  }
  size_t i = 0;
  for (auto _ : state) {
    const Witness& w = witnesses[i];
    benchmark::DoNotOptimize(world.graph.wants(world.graph.class_of(w.from_object, Event::kWrite),
                                               world.graph.class_of(w.to_object, Event::kWrite), w));
    if (++i == witnesses.size()) i = 0;
  }
}
BENCHMARK(BM_WantsKnown);

// `edges` new edges among a tenth as many classes, always from the lower to the higher: no circle, but each is searched for.
void BM_NewEdges(benchmark::State& state) {
  const auto edges = static_cast<uint32_t>(state.range(0));
  const uint32_t classes = edges / 10;
  uint64_t steps = 0;
  for (auto _ : state) {
    state.PauseTiming();
    auto world = std::make_unique<World>();
    std::vector<ObjectId> objects;
    for (uint32_t i = 0; i < classes; ++i) {
      objects.push_back(world->object(i + 1));
      world->graph.class_of(objects.back(), Event::kWrite);
    }
    std::mt19937 random(1);
    state.ResumeTiming();
    for (uint32_t i = 0; i < edges; ++i) {
      uint32_t a = random() % classes;
      uint32_t b = random() % classes;
      if (a == b) continue;
      if (a > b) std::swap(a, b);
      world->graph.depend(world->graph.class_of(objects[a], Event::kWrite), world->graph.class_of(objects[b], Event::kWrite),
                          owned(1, objects[a], objects[b]));
    }
    steps = world->arena.counted(Counter::kSearchSteps);
    state.PauseTiming();
    world.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * edges);
  state.counters["steps/edge"] = static_cast<double>(steps) / edges;
}
BENCHMARK(BM_NewEdges)->Arg(1000)->Arg(10000)->Unit(benchmark::kMillisecond);

// A circle of `hops` in a graph of a thousand edges that leads nowhere, closed by its last edge.
void BM_CircleSearch(benchmark::State& state) {
  const auto hops = static_cast<uint32_t>(state.range(0));
  for (auto _ : state) {
    state.PauseTiming();
    auto world = std::make_unique<World>();
    std::vector<ObjectId> objects;
    for (uint32_t i = 0; i < 200; ++i) objects.push_back(world->object(i + 1));
    const auto depend = [&](unsigned thread, uint32_t a, uint32_t b) {
      return world->graph.depend(world->graph.class_of(objects[a], Event::kWrite), world->graph.class_of(objects[b], Event::kWrite),
                                 owned(thread, objects[a], objects[b]));
    };
    for (uint32_t i = 0; i + 1 < hops; ++i) depend(i + 1, i, i + 1);
    for (uint32_t i = 0; i < 190; ++i) {
      for (uint32_t k = 1; k <= 5; ++k) depend(20, i, i + 5 + k < 200 ? i + 5 + k : 199);
    }
    state.ResumeTiming();
    if (depend(hops, hops - 1, 0) == ReportId::kNone) state.SkipWithError("no circle");
    state.PauseTiming();
    world.reset();
    state.ResumeTiming();
  }
}
BENCHMARK(BM_CircleSearch)->Arg(2)->Arg(3)->Arg(5)->Unit(benchmark::kMicrosecond);

// Two hundred locks of one class, held at once, in one order: once.
void BM_ArrayInOrder(benchmark::State& state) {
  for (auto _ : state) {
    state.PauseTiming();
    auto world = std::make_unique<World>();
    std::vector<ObjectId> objects;
    for (uint32_t i = 0; i < 200; ++i) {
      objects.push_back(world->object(1));
      world->arena.at<Object>(objects.back()).address = i * 64;
    }
    const ClassId cls = world->graph.class_of(objects[0], Event::kWrite);
    state.ResumeTiming();
    for (uint32_t i = 0; i < 200; ++i) {
      for (uint32_t held = 0; held < i; ++held) {
        const Witness w = owned(1, objects[held], objects[i]);
        if (world->graph.wants(cls, cls, w)) world->graph.depend(cls, cls, w);
      }
    }
    state.PauseTiming();
    world.reset();
    state.ResumeTiming();
  }
}
BENCHMARK(BM_ArrayInOrder)->Unit(benchmark::kMillisecond);

void BM_InternKnownStack(benchmark::State& state) {
  World world;
  Frame frames[16];
  for (uint64_t i = 0; i < 16; ++i) frames[i] = Frame::pc(0x401000 + i * 32);
  for (auto _ : state) benchmark::DoNotOptimize(world.arena.intern(frames, 16));
}
BENCHMARK(BM_InternKnownStack);

}  // namespace
}  // namespace causeway::dept
