/* Both products of a Newton step in one reading of X, for a few columns of weights: what BLAS is slow at.

   X [n, d] is float16, bfloat16 or float32, with rows wherever they are; numbers become floats in registers. A block of
   rows passes through the forward product and, while it is in cache, through the adjoint one. Within a block sums are
   float32, over blocks float64. Rough products take bfloat16 numbers, two at a time, and add up in float32. */

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

enum { ROWS = 128, TILE = 512, MOST_COLUMNS = 12, LINE = 64, AHEAD = 8 /* rows that are fetched early */ };
enum Kind { HALF, BRAIN, FLOAT };
enum Weighing { GIVEN, SCORES, MASKED, HINGE };

#define EACH(k, K) _Pragma("GCC unroll 12") for (int k = 0; k < K; k++)
#define INLINE static inline __attribute__((always_inline))

/* Memory that is the caller's, for it to be used again: fresh pages, which the kernel has to clear, would cost a
   quarter of the time. */
struct Space {
    void *sums;    /* vectors of partial sums: [ROWS, MOST_COLUMNS] */
    void *packed;  /* a tile of X (rough: the whole block) in the order in which the adjoint product reads it */
    void *pairs;   /* M in bfloat16, two rows at a time */
    void *scores;  /* then weights; of a block, part by part */
    void *W;       /* V in the order of a Block */
};

INLINE int64_t size_of(enum Kind kind)
{
    return kind == FLOAT ? 4 : 2;
}

/* Number j of a row, as a float. */
INLINE float number(enum Kind kind, const char *row, int64_t j)
{
    float x;
    uint16_t b;
    uint32_t bits;
    _Float16 h;
    if (kind == HALF) {
        memcpy(&h, row + 2 * j, 2);
        return (float)h;
    }
    if (kind == BRAIN) {
        memcpy(&b, row + 2 * j, 2);
        bits = (uint32_t)b << 16;
        memcpy(&x, &bits, 4);
        return x;
    }
    memcpy(&x, row + 4 * j, 4);
    return x;
}

/* What a block of products is about: n rows of X, K columns of weights. Matrices [K, d] that are read `width` columns
   at a time, all k of them, are kept in that order: rows of a common one lie whole pages apart, which caches hate. What
   is left of d beyond a multiple of the width is read from the matrix itself. */
struct Block {
    const char *const *rows;
    int64_t n, d;
    int rough;
    const void *W;  /* V in that order */
    const float *V; /* [K, d] */
    float *S;       /* scores; then, for the adjoint product, weights: [n, K] */
    void *G;        /* sums (double; rough: float) in that order, 16 or 8 columns at a time; then [k, rest] */
    struct Space *space;
};

/* What is to be fetched AHEAD rows after row r of a tile, `bytes` wide and `at` bytes into the rows. Behind the last row
   follows the first of the next tile; where there is none, whatever is there. */
INLINE const char *ahead(const struct Block *of, int64_t r, int64_t at, int64_t bytes)
{
    const int64_t row = r + AHEAD;
    return row < of->n ? of->rows[row] + at : of->rows[(row - of->n) % of->n] + at + bytes;
}

/* G += M^T X for the columns from `whole` on, which fill no vector. */
static void adjoint_rest(enum Kind kind, int K, const struct Block *of, int64_t whole)
{
    for (int64_t j = whole; j < of->d; j++)
        for (int k = 0; k < K; k++) {
            const int64_t at = whole * K + k * (of->d - whole) + j - whole;
            double sum = 0;
            for (int64_t r = 0; r < of->n; r++)
                sum += of->S[r * K + k] * number(kind, of->rows[r], j);
            if (of->rough)
                ((float *)of->G)[at] += (float)sum;
            else
                ((double *)of->G)[at] += sum;
        }
}

/* The function `name`, which does `work(kind, K)` with both known when it is compiled. */
#define BY_KIND(name, work) \
    static void name(enum Kind kind, int K, const struct Block *of) \
    { \
        if (kind == HALF) \
            BY_COLUMNS(HALF, K, work) \
        else if (kind == BRAIN) \
            BY_COLUMNS(BRAIN, K, work) \
        else \
            BY_COLUMNS(FLOAT, K, work) \
    }

/* --- AVX-512 --- */

#define NAME(x) x##_avx512
#define WIDTH 16
#define COLUMNS 12
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,f16c,fma")))
#define LOAD_HALF(p) ((vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p))))
#define LOAD_BRAIN(p) ((vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(p))), 16))
#define ADD_TO_DOUBLES(p, v) \
    do { \
        double *to = (p); \
        const __m512 all = (__m512)(v); \
        _mm512_storeu_pd(to, _mm512_loadu_pd(to) + _mm512_cvtps_pd(_mm512_castps512_ps256(all))); \
        _mm512_storeu_pd(to + 8, _mm512_loadu_pd(to + 8) + _mm512_cvtps_pd(_mm512_extractf32x8_ps(all, 1))); \
    } while (0)
#define BY_COLUMNS(kind, K, work) \
    switch (K) { \
        case 1: work(kind, 1); break; case 2: work(kind, 2); break; case 3: work(kind, 3); break; \
        case 4: work(kind, 4); break; case 5: work(kind, 5); break; case 6: work(kind, 6); break; \
        case 7: work(kind, 7); break; case 8: work(kind, 8); break; case 9: work(kind, 9); break; \
        case 10: work(kind, 10); break; case 11: work(kind, 11); break; case 12: work(kind, 12); break; \
    }
#include "products.h"
#include "products_bf16.h"
#undef NAME
#undef WIDTH
#undef COLUMNS
#undef TARGET
#undef LOAD_HALF
#undef LOAD_BRAIN
#undef ADD_TO_DOUBLES
#undef BY_COLUMNS

/* --- AVX2 --- */

#define NAME(x) x##_avx2
#define WIDTH 8
#define COLUMNS 6
#define TARGET __attribute__((target("avx2,f16c,fma")))
#define LOAD_HALF(p) ((vec)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p))))
#define LOAD_BRAIN(p) ((vec)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(p))), 16))
#define ADD_TO_DOUBLES(p, v) \
    do { \
        double *to = (p); \
        const __m256 all = (__m256)(v); \
        _mm256_storeu_pd(to, _mm256_loadu_pd(to) + _mm256_cvtps_pd(_mm256_castps256_ps128(all))); \
        _mm256_storeu_pd(to + 4, _mm256_loadu_pd(to + 4) + _mm256_cvtps_pd(_mm256_extractf128_ps(all, 1))); \
    } while (0)
#define BY_COLUMNS(kind, K, work) \
    switch (K) { \
        case 1: work(kind, 1); break; case 2: work(kind, 2); break; case 3: work(kind, 3); break; \
        case 4: work(kind, 4); break; case 5: work(kind, 5); break; case 6: work(kind, 6); break; \
    }
#include "products.h"

typedef void Product(enum Kind, int K, const struct Block *);

/* How this machine makes products; columns is 0 where it lacks the instructions. */
struct Means {
    int columns, width;
    Product *forward, *adjoint;
};

static struct Means means(int rough)
{
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
        if (!rough)
            return (struct Means){12, 16, forward_avx512, adjoint_avx512};
        if (__builtin_cpu_supports("avx512bf16"))
            return (struct Means){12, 16, forward_rough, adjoint_rough};
    } else if (!rough && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return (struct Means){6, 8, forward_avx2, adjoint_avx2};
    }
    return (struct Means){0};
}

/* Whether this machine has (rough) products. */
int products_at_hand(int rough)
{
    return means(rough).columns > 0;
}

/* out = V [K, d] in the order of a Block, `width` columns at a time. */
static void arrange(int64_t width, int K, int64_t d, const float *V, float *out)
{
    for (int64_t j = 0; j + width <= d; j += width)
        for (int k = 0; k < K; k++)
            memcpy(out + j * K + k * width, V + k * d + j, width * sizeof(float));
}

#define PARTS(p, from, k) \
    for (int p = 0, from = 0, k = K / parts; p < parts; p++, from += k, k = K * (p + 1) / parts - from)

/* To the first of `totals`, `count` numbers each, is added what the others hold. */
INLINE void add_shares(int rough, int64_t count, int shares, void *const *totals)
{
    for (int64_t begin = 0; begin < count; begin += 4096)
        for (int share = 1; share < shares; share++)
            for (int64_t i = begin; i < begin + 4096 && i < count; i++)
                if (rough)
                    ((float *)totals[0])[i] += ((float *)totals[share])[i];
                else
                    ((double *)totals[0])[i] += ((double *)totals[share])[i];
}

/* G [K, d] as floats, its rows `apart`, from sums in the order of a Block. */
INLINE void in_order(int rough, int64_t d, int K, const void *sums, float *G, int64_t apart)
{
    const struct Means by = means(0);
    const int64_t whole = d / (2 * by.width) * (2 * by.width);
    const int parts = (K + by.columns - 1) / by.columns;
    PARTS(p, from, k)
        for (int c = 0; c < k; c++)
            for (int64_t j = 0; j < d; j++) {
                const int64_t l = j & (by.width - 1), rest = whole * k + c * (d - whole) + j - whole;
                const int64_t at = from * d + (j < whole ? (j - l) * k + c * by.width + l : rest);
                G[(from + c) * apart + j] = rough ? ((const float *)sums)[at] : (float)((const double *)sums)[at];
            }
}

/* G [K, d] as floats, its rows `apart`: the sum of what `products` left for each share, of which the first is lost. */
void products_sums(int rough, int64_t d, int K, int shares, void *const *totals, float *G, int64_t apart)
{
    if (rough) {
        add_shares(1, d * K, shares, totals);
        in_order(1, d, K, totals[0], G, apart);
    } else {
        add_shares(0, d * K, shares, totals);
        in_order(0, d, K, totals[0], G, apart);
    }
}

/* Lays `space` out in `memory`, unless that is NULL; how many bytes it takes. */
static int64_t lay_out(int rough, int64_t d, int K, char *memory, struct Space *space)
{
    const int64_t packed = rough ? (d / 32 + 1) * APART * LINE : (int64_t)(ROWS * TILE * sizeof(float));
    const int64_t bytes[] = {
        ROWS * MOST_COLUMNS * LINE, packed, ROWS * MOST_COLUMNS * sizeof(float),
        ROWS * (K + MOST_COLUMNS) * sizeof(float), d * K * sizeof(float)};
    void **parts[] = {&space->sums, &space->packed, &space->pairs, &space->scores, &space->W};
    int64_t at = 0;
    for (int part = 0; part < 5; part++) {
        if (memory)
            *parts[part] = memory + at;
        at += (bytes[part] + LINE - 1) / LINE * LINE;
    }
    return at;
}

/* How many bytes of memory `products` wants. */
int64_t products_space(int rough, int64_t d, int K)
{
    struct Space space;
    return lay_out(rough, d, K, NULL, &space) + LINE;
}

/* For rows begin <= i < end (row index[i] of X, or i itself), with M from the weighing:

       GIVEN    M = A
       SCORES   M = S = X V^T + bias
       MASKED   S the same,  M = A S
       HINGE    S the same,  M = A B max(0, 1 - B S)

   writes S [n, K] (but for GIVEN); M^T X to `total` (unless NULL), K d numbers of a type and in an order of its own
   (`products_sums`); and adds the sum of M's rows to sums [K]. A, B [n, K]; V [K, d]; bias [K]; rows of X lie `stride`
   numbers apart. Columns of weights are taken as many at a time as the registers hold. `memory`, of `products_space`
   bytes, is for this call alone. */
void products(
    int rough, int kind, const char *X, int64_t stride, const int64_t *index, int64_t begin, int64_t end, int64_t d,
    int K, const float *V, const float *bias, float *S, int weighing, const float *A, const float *B, char *memory,
    void *total, double *sums)
{
    const struct Means by = means(rough);
    const int parts = (K + by.columns - 1) / by.columns;
    const int64_t item = rough ? sizeof(float) : sizeof(double), weight = rough ? sizeof(uint16_t) : sizeof(float);
    struct Space space;
    lay_out(rough, d, K, memory + (LINE - (uintptr_t)memory % LINE) % LINE, &space);
    if (total)
        memset(total, 0, item * K * d);
    PARTS(p, from, k) {
        if (weighing == GIVEN)
            break;
        if (rough)
            arrange_rough(k, d, V + from * d, (uint16_t *)space.W + from * d);
        else
            arrange(by.width, k, d, V + from * d, (float *)space.W + from * d);
    }
    for (int64_t i = begin; i < end; i += ROWS) {
        const int64_t n = end - i < ROWS ? end - i : ROWS;
        const char *rows[ROWS];
        for (int64_t r = 0; r < n; r++)
            rows[r] = X + (index ? index[i + r] : i + r) * stride * size_of(kind);
        PARTS(p, from, k) {
            float *s = (float *)space.scores + p * ROWS * by.columns;
            const void *w = (char *)space.W + from * d * weight;
            void *G = total ? (char *)total + from * d * item : NULL;
            const struct Block block = {rows, n, d, rough, w, V + from * d, s, G, &space};
            if (weighing != GIVEN)
                by.forward(kind, k, &block);
            for (int64_t r = 0; r < n; r++)
                for (int c = 0; c < k; c++) {
                    const int64_t at = (i + r) * K + from + c;
                    float *m = s + r * k + c;
                    if (weighing == GIVEN)
                        *m = A[at];
                    else
                        S[at] = *m += bias[from + c];
                    if (weighing == MASKED)
                        *m *= A[at];
                    else if (weighing == HINGE)
                        *m = B[at] * *m < 1 ? A[at] * B[at] * (1 - B[at] * *m) : 0;
                    sums[from + c] += *m;
                }
            if (total)
                by.adjoint(kind, k, &block);
        }
    }
}
#else
int products_at_hand(int rough)
{
    return 0;
}
#endif
