// The selective scan and its gradient in CUDA C++; `bench.kernels.scan.cuda` compiles and launches them.
//
// A block is one warp, which processes a prompt and 32 channels. A lane has LANES channels and HELD of their states,
// so that a warp has all states of its channels. Both kinds of sums are then short: those over the states run over LANES lanes,
// those over the channels first over the LANES channels of a lane and then over 32 / LANES lanes.
//
// A sum over lanes of an array should leave one entry in each lane. The usual exchange halves the array at each
// step: a lane sends one half and keeps the other, and which one depends on a bit of its number, which costs
// two selections per exchange. Here lanes number their entries differently instead: entry r of a lane is channel
// (own channel) xor r, and entry i is state (first state + (i xor `turn`)). Then every lane sends the upper half
// and keeps the lower one, and the two match. The lane ends with the sums of its own channel or state.
//
// There are no atomics. Sums over channels and prompts are written as partial sums, which a further launch adds in a
// fixed order (`add_up` of `bench.kernels.scan.triton_gradient`), so that two runs agree to the bit.
//
// The gradient goes through a prompt chunk by chunk, from the last. For a chunk, a warp loads the inputs and turns
// them into what lanes need of each other, recomputes the states from the kept one into shared memory, and goes back
// token by token. A lane reads only the states that it wrote.
//
// `bench.kernels.scan.cuda` defines these macros:
//   STATE         numbers of a state: 1, 2, 4, 8 or 16
//   CHUNK         tokens between two kept states, an even number
//   KERNEL        which kernel to compile: 0 forward, 1 backward
//   ALIGNED       whether rows of B and C can be read by four numbers
//   SHARED_BYTES  size of a block's shared memory, which the launch asks for
//
// tests/support/cuda_emulation.h defines CUDA's names for a C++ compiler, with Real as double.

#ifndef EMULATED
typedef float Real;
__device__ __forceinline__ Real exp2_of(Real v) {
    // Flushes denormal results to zero. Without .ftz it would take three more instructions.
    Real result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(v));
    return result;
}
__device__ __forceinline__ Real inverse(Real v) { return __fdividef(1.0f, v); }
__device__ __forceinline__ Real log1p_of(Real v) { return log1pf(v); }
__device__ __forceinline__ Real exchange(Real value, int distance) {
    return __shfl_xor_sync(0xffffffff, value, distance);
}
__device__ __forceinline__ void prefetch(const Real *p) { asm volatile("prefetch.global.L2 [%0];" :: "l"(p)); }
// Otherwise the compiler would compute the address from the kernel's arguments before each access.
__device__ __forceinline__ void keep_in_registers(Real *&pointer) {
    asm("" : "+l"(pointer));
    __builtin_assume(__isGlobal(pointer));
}
extern __shared__ float4 shared_memory[];
#define SHARED(type, name) type &name = *reinterpret_cast<type *>(shared_memory)
#endif

constexpr int LANES = STATE >= 16 ? 4 : STATE >= 4 ? 2 : 1;  // lanes that share channels; channels of a lane
constexpr int HELD = STATE / LANES;                          // states of a channel that a lane has
constexpr int THREADS = 32;                                  // of a block
// Blocks per multiprocessor for which registers must suffice. With twelve, the gradient would spill registers.
constexpr int FORWARD_RESIDENT = 12, BACKWARD_RESIDENT = 8;
// States of a chunk in shared memory: every other one. The gradient computes the rest once more, which is 5 % more
// instructions and a sixth less traffic of shared memory.
constexpr int KEPT = CHUNK / 2;
constexpr Real LOG2_E = 1.4426950408889634, LN_2 = 0.6931471805599453;

typedef long long Index;

struct alignas(HELD * sizeof(Real)) Held {  // accessed by one instruction
    Real value[HELD];
};
// What lanes need of a token is stored by who reads it: lanes of a group read each other's `Advance` and slope, and
// only their own `Own`. Shared memory then serves every read without conflicts; with all in one structure, reads of
// its first half would take twice the time.
struct alignas(2 * sizeof(Real)) Advance {
    Real delta, input;  // Δ and Δ x
};
struct alignas(2 * sizeof(Real)) Own {
    Real x, gate;
};
struct Token {  // of a channel; slope: the gradient of the ungated output
    Real delta, input, slope;
};

struct BC {  // of a token, for each `turn`, in the order of the lanes that have it
    Held B[HELD][LANES], C[HELD][LANES];
};

struct alignas(4 * sizeof(Real)) Shared {
    Held states[KEPT][LANES][32];
    BC bc[CHUNK];
    Advance advances[CHUNK][32];
    Own own[CHUNK][32];  // gate: dz divided by the ungated output
    Real slopes[CHUNK][32];
};

struct alignas(4 * sizeof(Real)) SharedForward {
    BC bc[CHUNK];
    Advance advances[CHUNK][32];
    Own own[CHUNK][32];  // x times skip, and SiLU(z)
};

__device__ __forceinline__ Real sigmoid_of(Real v) { return inverse(1 + exp2_of(-v * LOG2_E)); }

// 1 − exp(−s) for s ≥ 0, by its Taylor series for small s, where the difference would cancel.
__device__ __forceinline__ Real one_minus_exp(Real s) {
    const Real half = 1.0 / 2, third = 1.0 / 3, fourth = 1.0 / 4, fifth = 1.0 / 5, sixth = 1.0 / 6, seventh = 1.0 / 7;
    const Real series =
        s * (1 - s * half * (1 - s * third * (1 - s * fourth * (1 - s * fifth * (1 - s * sixth * (1 - s * seventh))))));
    return s < Real(0.0625) ? series : 1 - exp2_of(-s * LOG2_E);
}

// log(1 + exp v) = max(v, 0) + log1p(exp(−|v|))
__device__ __forceinline__ Real softplus(Real v) {
    return (v > 0 ? v : 0) + log1p_of(exp2_of(-(v > 0 ? v : -v) * LOG2_E));
}

struct Place {
    int lane, group, turn, own;  // group: which HELD states; own: the channel of entry 0
    int channels;
    __device__ __forceinline__ Place(int block, int channels) : channels(channels) {
        lane = threadIdx.x;
        group = lane % LANES;
        turn = lane / LANES % HELD;
        own = block * THREADS + threadIdx.x;
    }
    __device__ __forceinline__ int state(int i) const { return group * HELD + (i ^ turn); }
    __device__ __forceinline__ bool has(int r) const { return (own ^ r) < channels; }
    // Place of entry (r, i) in an array (STATE, channels).
    __device__ __forceinline__ Index at(int r, int i) const { return Index(state(i)) * channels + (own ^ r); }
};

// Copy a chunk of B and C into shared memory, in the order of every `turn`.
__device__ __forceinline__ void load_inputs(
    const Real *B, const Real *C, int B_t, int C_t, int steps, BC (&bc)[CHUNK]
) {
    constexpr int PARTS = CHUNK * LANES;
    _Pragma("unroll")
    for (int first = 0; first < 2 * PARTS; first += THREADS) {
        const int part = first + threadIdx.x;
        if (2 * PARTS % THREADS == 0 || part < 2 * PARTS) {
            const bool is_C = part >= PARTS;
            const int j = part % PARTS / LANES, group = part % LANES;
            const int t = min(j, steps - 1);  // tokens after the last one are never used
            const Real *source = is_C ? C + t * C_t : B + t * B_t;
            Held value;
#if ALIGNED
            value = *reinterpret_cast<const Held *>(source + group * HELD);
#else
            _Pragma("unroll")
            for (int i = 0; i < HELD; i++) value.value[i] = source[group * HELD + i];
#endif
            Held (&target)[HELD][LANES] = is_C ? bc[j].C : bc[j].B;
            _Pragma("unroll")
            for (int turn = 0; turn < HELD; turn++) {
                Held turned;
                _Pragma("unroll")
                for (int i = 0; i < HELD; i++) turned.value[i] = value.value[i ^ turn];
                target[turn][group] = turned;
            }
        }
    }
}

// Kept states have the order of the lanes, so that each lane reads and writes whole `Held`s.
__device__ __forceinline__ void load_states(const Real *source, const Place &place, Real (&h)[LANES][HELD]) {
    const int part = min(place.own, place.channels - 1) / 32;  // warps after the last channel read it too
    const Held *entries = reinterpret_cast<const Held *>(source) + part * (LANES * 32) + place.lane;
    _Pragma("unroll")
    for (int r = 0; r < LANES; r++) {
        const Held entry = entries[r * 32];
        _Pragma("unroll")
        for (int i = 0; i < HELD; i++) h[r][i] = entry.value[i];
    }
}

__device__ __forceinline__ void store_states(Real *target, const Place &place, const Real (&h)[LANES][HELD]) {
    const int part = place.own / 32;
    if (part > (place.channels - 1) / 32) return;
    Held *entries = reinterpret_cast<Held *>(target) + part * (LANES * 32) + place.lane;
    _Pragma("unroll")
    for (int r = 0; r < LANES; r++) {
        Held entry;
        _Pragma("unroll")
        for (int i = 0; i < HELD; i++) entry.value[i] = h[r][i];
        entries[r * 32] = entry;
    }
}

// Sum over the states: entry 0 becomes the sum of the lane's own channel.
__device__ __forceinline__ void sum_over_states(Real (&values)[LANES]) {
    _Pragma("unroll")
    for (int width = LANES / 2; width > 0; width /= 2) {
        _Pragma("unroll")
        for (int r = 0; r < width; r++) values[r] += exchange(values[r + width], width);
    }
}

// Sums over the warp's channels. Lanes below STATE return the sum of dB of state(0), the next STATE lanes that of dC.
__device__ __forceinline__ Real sum_over_channels(Real (&dB)[HELD], Real (&dC)[HELD], int lane) {
    _Pragma("unroll")
    for (int width = HELD / 2; width > 0; width /= 2) {
        _Pragma("unroll")
        for (int i = 0; i < width; i++) {
            dB[i] += exchange(dB[i + width], width * LANES);
            dC[i] += exchange(dC[i + width], width * LANES);
        }
    }
    const bool is_C = lane & STATE;
    Real total = (is_C ? dC[0] : dB[0]) + exchange(is_C ? dB[0] : dC[0], STATE);
    _Pragma("unroll")
    for (int distance = 2 * STATE; distance < 32; distance *= 2) total += exchange(total, distance);
    return total;
}

typedef Real Tile[LANES][HELD];

__device__ __forceinline__ void load_token(const Shared &shared, const Place &place, int j, Token (&token)[LANES]) {
    _Pragma("unroll")
    for (int r = 0; r < LANES; r++) {
        const Advance part = shared.advances[j][place.lane ^ r];
        token[r] = {part.delta, part.input, shared.slopes[j][place.lane ^ r]};
    }
}

// exp(Δ A) of a token.
__device__ __forceinline__ void decays(const Token (&token)[LANES], const Tile &rate, Tile &decay) {
    _Pragma("unroll")
    for (int r = 0; r < LANES; r++)
        _Pragma("unroll")
        for (int i = 0; i < HELD; i++) decay[r][i] = exp2_of(token[r].delta * rate[r][i]);
}

// The state after a token.
__device__ __forceinline__ void advance(
    const Advance (&advances)[32], const BC &bc, const Place &place, const Tile &rate, Tile &h
) {
    const Held B = bc.B[place.turn][place.group];
    _Pragma("unroll")
    for (int r = 0; r < LANES; r++) {
        const Advance part = advances[place.lane ^ r];
        _Pragma("unroll")
        for (int i = 0; i < HELD; i++)
            h[r][i] = exp2_of(part.delta * rate[r][i]) * h[r][i] + part.input * B.value[i];
    }
}

__device__ __forceinline__ void store_tile(Held (&target)[LANES][32], int lane, const Tile &h) {
    _Pragma("unroll")
    for (int r = 0; r < LANES; r++) {
        Held kept;
        _Pragma("unroll")
        for (int i = 0; i < HELD; i++) kept.value[i] = h[r][i];
        target[r][lane] = kept;
    }
}

__device__ __forceinline__ void load_tile(const Held (&source)[LANES][32], int lane, Tile &h) {
    _Pragma("unroll")
    for (int r = 0; r < LANES; r++) {
        const Held kept = source[r][lane];
        _Pragma("unroll")
        for (int i = 0; i < HELD; i++) h[r][i] = kept.value[i];
    }
}

// What the gradient accumulates over tokens.
struct Sums {
    Tile carry, A;  // carry: exp(Δ_{t+1} A) g_{t+1}
    Real bias, skip;
};

// Arrays of the prompt, at the lane's own channel.
struct Outputs {
    Real *dx, *dstep, *dz, *by_block_of_lane;
    int dz_t, by_block_t;
};

// The gradient at token t, which is token j of its chunk.
__device__ __forceinline__ void differentiate(
    const Token (&token)[LANES], const Tile &decay, const Tile &before, const Tile &after, const Tile &rate,
    Shared &shared, const Place &place, Real skip, int j, int t, Sums &sums, const Outputs &outputs
) {
    Real ungated[LANES], d_input[LANES], d_decay[LANES], dB[HELD], dC[HELD];
    const Held B = shared.bc[j].B[place.turn][place.group], C = shared.bc[j].C[place.turn][place.group];
    _Pragma("unroll")
    for (int r = 0; r < LANES; r++) {
        const Real delta = token[r].delta, input = token[r].input, slope = token[r].slope;
        _Pragma("unroll")
        for (int i = 0; i < HELD; i++) {
            const Real g = sums.carry[r][i] + slope * C.value[i];
            const Real carried = decay[r][i] * g;
            const Real exponent = carried * before[r][i];  // gradient of Δ A
            sums.carry[r][i] = carried;
            sums.A[r][i] += exponent * delta;
            // The first summands start the sums, which saves setting them to zero.
            ungated[r] = i ? ungated[r] + after[r][i] * C.value[i] : after[r][i] * C.value[i];
            d_input[r] = i ? d_input[r] + g * B.value[i] : g * B.value[i];  // gradient of Δ x
            d_decay[r] = i ? d_decay[r] + exponent * rate[r][i] : exponent * rate[r][i];
            dB[i] = r ? dB[i] + g * input : g * input;
            dC[i] = r ? dC[i] + after[r][i] * slope : after[r][i] * slope;
        }
    }
    sum_over_states(ungated);
    sum_over_states(d_input);
    sum_over_states(d_decay);
    const Real sum = sum_over_channels(dB, dC, place.lane);
    if (place.lane < 2 * STATE) outputs.by_block_of_lane[t * outputs.by_block_t] = sum;
    const Own own = shared.own[j][place.lane];
    const Real x = own.x;
    // dΔ/dv = sigmoid(v) = 1 − exp(−Δ) for Δ = softplus(v)
    const Real d_step = (d_input[0] * x + d_decay[0] * LN_2) * one_minus_exp(token[0].delta);
    sums.bias += d_step;
    sums.skip += token[0].slope * x;
    if (place.has(0)) {
        const int at = t * place.channels;
        outputs.dz[t * outputs.dz_t] = (ungated[0] + skip * x) * own.gate;
        outputs.dx[at] = d_input[0] * token[0].delta + skip * token[0].slope;
        outputs.dstep[at] = d_step;
    }
}

// A chunk of the arrays that have a number per token and channel.
struct Inputs {
    Real x[CHUNK], delta[CHUNK], dy[CHUNK], z[CHUNK];
    __device__ __forceinline__ void load(
        const Real *x_of, const Real *delta_of, const Real *dy_of, const Real *z_of, int channels, int z_t, int steps
    ) {
        _Pragma("unroll")
        for (int j = 0; j < CHUNK; j++) {
            const int t = min(j, steps - 1);  // tokens after the last one are never used
            x[j] = x_of[t * channels];
            delta[j] = delta_of[t * channels];
            dy[j] = dy_of[t * channels];
            z[j] = z_of[t * z_t];
        }
    }
};

#if KERNEL == 1
static_assert(sizeof(Shared) == SHARED_BYTES * sizeof(Real) / 4, "the launch's size of shared memory");

extern "C" __global__ void __launch_bounds__(THREADS, BACKWARD_RESIDENT) scan_backward(
    const Real *dy, const Real *x, const Real *delta, const Real *A, const Real *B, const Real *C, const Real *skip,
    const Real *z, const Real *starts, const Real *carries, const Real *spans, Real *dx, Real *dstep, Real *dz,
    Real *by_prompt, Real *by_block, Index B_k, Index B_b, Index C_k, Index C_b, Index z_k, Index z_b, int B_t,
    int C_t, int z_t, int dz_t, int rows, int batch, int length, int channels, int segments, int span
) {
    SHARED(Shared, shared);
    const int blocks = (channels + THREADS - 1) / THREADS;
    const int block = blockIdx.x % blocks, part = blockIdx.x / blocks;
    const int row = part / segments, segment = part % segments;
    const int k = row / batch, b = row % batch;
    const Place place(block, channels);
    const bool inside = place.has(0);
    const int chunks = (length + CHUNK - 1) / CHUNK;
    const int begin = segment * span, end = min((segment + 1) * span, chunks);
    const Index start_size = Index(STATE) * ((channels + 31) / 32 * 32);

    // Lanes after the last channel read the last one, but with dy = 0: they add nothing to any sum.
    const int source = min(place.own, channels - 1);
    const int to_first = min(place.own - place.lane, channels - 1) - source;  // from there to the warp's first channel
    const Index origin = Index(row) * length * channels;
    const Index from = origin + source + Index(end - 1) * CHUNK * channels;
    const Real *dy_of_chunk = dy + from, *x_of_chunk = x + from, *delta_of_chunk = delta + from;
    const Real *z_of_chunk = z + k * z_k + b * z_b + source + Index(end - 1) * CHUNK * z_t;
    B += k * B_k + b * B_b;
    C += k * C_k + b * C_b;
    starts += Index(row) * chunks * start_size;
    const Index half = Index(rows) * length * blocks * STATE;  // the partial sums of dC follow those of dB
    Real *sums_of_block = by_block + (Index(row) * length * blocks + block) * STATE;
    Outputs outputs = {
        dx + origin + place.own, dstep + origin + place.own, dz + Index(row) * length * dz_t + place.own,
        sums_of_block + (place.lane & STATE ? half : 0) + place.state(0), dz_t, blocks * STATE,
    };
    keep_in_registers(outputs.dx);
    keep_in_registers(outputs.dstep);
    keep_in_registers(outputs.dz);
    keep_in_registers(outputs.by_block_of_lane);
    const Real skip_of_own = inside ? skip[Index(k) * channels + place.own] : Real(0);

    Tile rate;
    Sums sums;
    sums.bias = sums.skip = 0;
    _Pragma("unroll")
    for (int r = 0; r < LANES; r++) {
        _Pragma("unroll")
        for (int i = 0; i < HELD; i++) {
            rate[r][i] = place.has(r) ? A[Index(k) * STATE * channels + place.at(r, i)] * LOG2_E : Real(0);
            sums.A[r][i] = sums.carry[r][i] = 0;
        }
    }
    for (int later = segments - 1; later > segment; later--) {  // see `segment_carries` in triton_gradient.py
        const Index at = Index(row) * segments + later;
        _Pragma("unroll")
        for (int r = 0; r < LANES; r++) {
            const Real total = place.has(r) ? spans[at * channels + (place.own ^ r)] : Real(0);
            _Pragma("unroll")
            for (int i = 0; i < HELD; i++) {
                const Real entry = place.has(r) ? carries[at * STATE * channels + place.at(r, i)] : Real(0);
                sums.carry[r][i] = exp2_of(total * rate[r][i]) * sums.carry[r][i] + entry;
            }
        }
    }

    Advance (&advances)[CHUNK][32] = shared.advances;
    for (int chunk = end - 1; chunk >= begin; chunk--) {
        const int first = chunk * CHUNK, steps = min(CHUNK, length - first);
        Inputs inputs;
        Tile h;
        inputs.load(x_of_chunk, delta_of_chunk, dy_of_chunk, z_of_chunk, channels, z_t, steps);
        load_states(starts + chunk * start_size, place, h);
        load_inputs(B + first * B_t, C + first * C_t, B_t, C_t, steps, shared.bc);
        _Pragma("unroll")
        for (int j = 0; j < CHUNK; j++) {
            const Real sigmoid = sigmoid_of(inputs.z[j]);
            const Real slope = inside ? inputs.dy[j] * sigmoid : Real(0), d = slope * inputs.z[j];
            advances[j][place.lane] = {inputs.delta[j], inputs.delta[j] * inputs.x[j]};
            shared.slopes[j][place.lane] = d;
            shared.own[j][place.lane] = {inputs.x[j], slope + d * (1 - sigmoid)};
        }
        x_of_chunk -= CHUNK * channels, delta_of_chunk -= CHUNK * channels, dy_of_chunk -= CHUNK * channels;
        z_of_chunk -= CHUNK * z_t;
        if (chunk > begin) {
            // One instruction fetches the next chunk's inputs into the L2 cache: a lane for each line of 128 bytes.
            for (int first_line = 0; first_line < 4 * CHUNK; first_line += 32) {
                const int line = first_line + place.lane;
                const int j = line % CHUNK, array = line / CHUNK;
                const Real *base = array == 0 ? x_of_chunk : array == 1 ? delta_of_chunk : dy_of_chunk;
                if (array == 3) base = z_of_chunk;
                if (line < 4 * CHUNK) prefetch(base + to_first + j * (array == 3 ? z_t : channels));
            }
            const Real *states = starts + (chunk - 1) * start_size;
            prefetch(states + source / 32 * (STATE * 32) + place.lane * STATE);
        }
        __syncwarp();

        // Recompute the chunk's states; `h` ends as the state after its last token.
        _Pragma("unroll 1")
        for (int j = 0; j < steps; j += 2) {
            store_tile(shared.states[j / 2], place.lane, h);
            advance(advances[j], shared.bc[j], place, rate, h);
            if (j + 1 < steps) advance(advances[j + 1], shared.bc[j + 1], place, rate, h);
        }

        // Half of the states were kept. The others are computed again, with decays that the gradient needs anyway.
        _Pragma("unroll 1")
        for (int pair = (steps + 1) / 2 - 1; pair >= 0; pair--) {
            const int j = 2 * pair;
            Tile before, decay, middle;
            Token token[LANES], next[LANES];
            const Held B_of = shared.bc[j].B[place.turn][place.group];
            load_tile(shared.states[pair], place.lane, before);
            load_token(shared, place, j, token);
            decays(token, rate, decay);
            _Pragma("unroll")
            for (int r = 0; r < LANES; r++)
                _Pragma("unroll")
                for (int i = 0; i < HELD; i++)
                    middle[r][i] = decay[r][i] * before[r][i] + token[r].input * B_of.value[i];
            if (j + 1 < steps) {
                Tile last;
                load_token(shared, place, j + 1, next);
                decays(next, rate, last);
                differentiate(
                    next, last, middle, h, rate, shared, place, skip_of_own, j + 1, first + j + 1, sums, outputs
                );
            }
            differentiate(
                token, decay, before, middle, rate, shared, place, skip_of_own, j, first + j, sums, outputs
            );
            _Pragma("unroll")
            for (int r = 0; r < LANES; r++)
                _Pragma("unroll")
                for (int i = 0; i < HELD; i++) h[r][i] = before[r][i];
        }
        __syncwarp();
    }

    by_prompt += (Index(row) * segments + segment) * (STATE + 2) * channels;
    _Pragma("unroll")
    for (int r = 0; r < LANES; r++)
        _Pragma("unroll")
        for (int i = 0; i < HELD; i++) if (place.has(r)) by_prompt[place.at(r, i)] = sums.A[r][i];
    if (inside) {
        by_prompt[Index(STATE) * channels + place.own] = sums.bias;
        by_prompt[Index(STATE + 1) * channels + place.own] = sums.skip;
    }
}

#endif

#if KERNEL == 0
static_assert(sizeof(SharedForward) == SHARED_BYTES * sizeof(Real) / 4, "the launch's size of shared memory");

extern "C" __global__ void __launch_bounds__(THREADS, FORWARD_RESIDENT) scan_forward(
    const Real *x, const Real *step, const Real *bias, const Real *A, const Real *B, const Real *C, const Real *skip,
    const Real *z, Real *y, Real *delta, Real *starts, Index B_k, Index B_b, Index C_k, Index C_b, Index z_k,
    Index z_b, int B_t, int C_t, int z_t, int batch, int length, int channels
) {
    SHARED(SharedForward, shared);
    const int blocks = (channels + THREADS - 1) / THREADS;
    const int block = blockIdx.x % blocks, row = blockIdx.x / blocks;
    const int k = row / batch, b = row % batch;
    const Place place(block, channels);
    const bool inside = place.has(0);
    const int chunks = (length + CHUNK - 1) / CHUNK;
    const Index start_size = Index(STATE) * ((channels + 31) / 32 * 32);

    const int source = min(place.own, channels - 1);  // lanes after the last channel compute it too
    const Index origin = Index(row) * length * channels + source;
    x += origin, step += origin, y += origin, delta += origin;
    z += k * z_k + b * z_b + source;
    B += k * B_k + b * B_b;
    C += k * C_k + b * C_b;
    starts += Index(row) * chunks * start_size;
    const Real skip_of_own = inside ? skip[Index(k) * channels + place.own] : Real(0);
    const Real bias_of_own = inside ? bias[Index(k) * channels + place.own] : Real(0);
    Tile rate, h;
    _Pragma("unroll")
    for (int r = 0; r < LANES; r++) {
        _Pragma("unroll")
        for (int i = 0; i < HELD; i++) {
            rate[r][i] = place.has(r) ? A[Index(k) * STATE * channels + place.at(r, i)] * LOG2_E : Real(0);
            h[r][i] = 0;
        }
    }
    Advance (&advances)[CHUNK][32] = shared.advances;
    for (int chunk = 0; chunk < chunks; chunk++) {
        const int first = chunk * CHUNK, steps = min(CHUNK, length - first);
        Real x_of[CHUNK], step_of[CHUNK], z_of[CHUNK];
        _Pragma("unroll")
        for (int j = 0; j < CHUNK; j++) {
            const int t = min(j, steps - 1);
            x_of[j] = x[t * channels];
            step_of[j] = step[t * channels];
            z_of[j] = z[t * z_t];
        }
        x += CHUNK * channels, step += CHUNK * channels, z += CHUNK * z_t;
        store_states(starts + chunk * start_size, place, h);
        load_inputs(B + first * B_t, C + first * C_t, B_t, C_t, steps, shared.bc);
        _Pragma("unroll")
        for (int j = 0; j < CHUNK; j++) {
            const Real delta_of = softplus(step_of[j] + bias_of_own);
            advances[j][place.lane] = {delta_of, delta_of * x_of[j]};
            shared.own[j][place.lane] = {skip_of_own * x_of[j], z_of[j] * sigmoid_of(z_of[j])};
            if (inside && j < steps) delta[j * channels] = delta_of;
        }
        __syncwarp();
        _Pragma("unroll 2")
        for (int j = 0; j < steps; j++) {
            const Held B_of = shared.bc[j].B[place.turn][place.group], C_of = shared.bc[j].C[place.turn][place.group];
            Real ungated[LANES];
            _Pragma("unroll")
            for (int r = 0; r < LANES; r++) {
                const Advance advance = advances[j][place.lane ^ r];
                _Pragma("unroll")
                for (int i = 0; i < HELD; i++) {
                    h[r][i] = exp2_of(advance.delta * rate[r][i]) * h[r][i] + advance.input * B_of.value[i];
                    ungated[r] = i ? ungated[r] + h[r][i] * C_of.value[i] : h[r][i] * C_of.value[i];
                }
            }
            sum_over_states(ungated);
            const Own own = shared.own[j][place.lane];
            if (inside) y[j * channels] = (ungated[0] + own.x) * own.gate;
        }
        y += CHUNK * channels, delta += CHUNK * channels;
        __syncwarp();
    }
}
#endif
