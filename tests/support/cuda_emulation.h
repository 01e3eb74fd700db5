// CUDA's names for a C++ compiler, so that tests can run a kernel without a GPU, in double precision.
//
// The threads of a block are fibers. Each runs to its next exchange or barrier, then the next one does. Blocks run
// one after the other, in shared memory that is filled with NaN before each block.

#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#define EMULATED 1
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define SHARED(type, name) \
    static_assert(sizeof(type) <= sizeof(emulation::shared), "shared memory"); \
    type &name = *reinterpret_cast<type *>(emulation::shared)

typedef double Real;

struct Dimension {
    int x;
};
static Dimension threadIdx, blockIdx;

using std::min;

namespace emulation {

constexpr int MOST_THREADS = 1024, STACK = 1 << 17;
alignas(64) static char shared[1 << 19];
static std::vector<ucontext_t> fibers;
static ucontext_t scheduler;
static Real slots[2][MOST_THREADS];
static int phases[MOST_THREADS];
static void (*body)(void *);
static void *body_data;
static std::vector<bool> ended;

inline void yield() {
    const int thread = threadIdx.x;
    swapcontext(&fibers[thread], &scheduler);
    threadIdx.x = thread;
}

inline void start() {
    const int thread = threadIdx.x;
    body(body_data);
    ended[thread] = true;
}

inline void run_block(int block, int threads, std::vector<char> &stacks) {
    std::memset(shared, 0xff, sizeof shared);
    fibers.assign(threads, {});
    ended.assign(threads, false);
    for (int thread = 0; thread < threads; thread++) {
        phases[thread] = 0;
        getcontext(&fibers[thread]);
        fibers[thread].uc_stack.ss_sp = stacks.data() + std::size_t(thread) * STACK;
        fibers[thread].uc_stack.ss_size = STACK;
        fibers[thread].uc_link = &scheduler;
        makecontext(&fibers[thread], start, 0);
    }
    blockIdx.x = block;
    for (bool running = true; running;) {
        running = false;
        for (int thread = 0; thread < threads; thread++) {
            if (ended[thread]) continue;
            threadIdx.x = thread;
            swapcontext(&scheduler, &fibers[thread]);
            running = true;
        }
    }
}

template <typename... Arguments, std::size_t... places>
void launch(
    void (*kernel)(Arguments...), int grid, int threads, void **arguments, std::index_sequence<places...>
) {
    auto call = [&] { kernel(*static_cast<Arguments *>(arguments[places])...); };
    body = [](void *data) { (*static_cast<decltype(call) *>(data))(); };
    body_data = &call;
    std::vector<char> stacks(std::size_t(threads) * STACK);
    for (int block = 0; block < grid; block++) run_block(block, threads, stacks);
}

// Arguments as cuLaunchKernel takes them: pointers to the values.
template <typename... Arguments>
void launch(void (*kernel)(Arguments...), int grid, int threads, void **arguments) {
    launch(kernel, grid, threads, arguments, std::index_sequence_for<Arguments...>());
}

}  // namespace emulation

inline void __syncthreads() { emulation::yield(); }
inline void __syncwarp() { emulation::yield(); }

inline Real exchange(Real value, int distance) {
    // Two slots: a thread may write its next value before another one has read this one.
    const int thread = threadIdx.x, phase = emulation::phases[thread] ^= 1;
    emulation::slots[phase][thread] = value;
    emulation::yield();
    return emulation::slots[phase][thread ^ distance];
}

inline Real exp2_of(Real v) { return std::exp2(v); }
inline Real inverse(Real v) { return 1 / v; }
inline Real log1p_of(Real v) { return std::log1p(v); }
inline void prefetch(const Real *) {}
inline void keep_in_registers(Real *&) {}
