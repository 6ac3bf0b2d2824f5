/* The two products of a block with numbers in bfloat16, two to an instruction (AVX512_BF16): half the arithmetic. */

#define ROUGH TARGET_ROUGH INLINE
#define PAIR(i) (i), (i) + 32
#define PAIRS(i) PAIR(i), PAIR(i + 1), PAIR(i + 2), PAIR(i + 3)

/* Of numbers of two rows, 32 of each: those of columns 0 to 15 in pairs, and those of the others. */
static const uint16_t ORDER[2][32] = {
    {PAIRS(0), PAIRS(4), PAIRS(8), PAIRS(12)}, {PAIRS(16), PAIRS(20), PAIRS(24), PAIRS(28)}};

#define TARGET_ROUGH __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,f16c,fma")))

/* 32 numbers of X at p in bfloat16. */
ROUGH __m512i load_rough(enum Kind kind, const char *p)
{
    if (kind == BRAIN)
        return _mm512_loadu_si512(p);
    const int64_t half = 16 * size_of(kind);
    const __m512 low = (__m512)load_avx512(kind, p), high = (__m512)load_avx512(kind, p + half);
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* out = V [K, d] in bfloat16 in the order of a Block, 32 columns at a time. */
TARGET_ROUGH static void arrange_rough(int K, int64_t d, const float *V, uint16_t *out)
{
    for (int64_t j = 0; j + 32 <= d; j += 32)
        for (int k = 0; k < K; k++)
            _mm512_storeu_si512(out + j * K + k * 32, load_rough(FLOAT, (const char *)(V + k * d + j)));
}

/* The adjoint product reads X in pairs of numbers, of one row and the next, two vectors for 32 columns of two rows. The
   forward product, which has them at hand, puts them there: `APART` vectors lie between 32 columns and the next. */
enum { APART = ROWS + 2 /* no power of two: the caches */ };

/* sums[r][k] += a row's `width` numbers times V's, for `count` (one or two) rows; their pairs, if wanted. */
ROUGH void dot_rough(
    enum Kind kind, int K, int count, const char *a, const char *b, int64_t width, const char *W, __m512 *sums,
    const char *soon, const char *later, __m512i *pairs)
{
    __m512 s[2][MOST_COLUMNS];
    for (int r = 0; r < count; r++)
        EACH(k, K)
            s[r][k] = sums[r * MOST_COLUMNS + k];
    const __m512i low = _mm512_loadu_si512(ORDER[0]), high = _mm512_loadu_si512(ORDER[1]);
    for (int64_t j = 0; j < width; j += 32, W += K * LINE) {
        const int64_t at = j * size_of(kind);
        __builtin_prefetch(soon + at);
        __builtin_prefetch(later + at);
        const __m512i x = load_rough(kind, a + at), z = count == 2 ? load_rough(kind, b + at) : x;
        EACH(k, K) {
            const __m512bh w = (__m512bh)_mm512_loadu_si512(W + k * LINE);
            s[0][k] = _mm512_dpbf16_ps(s[0][k], (__m512bh)x, w);
            if (count == 2)
                s[1][k] = _mm512_dpbf16_ps(s[1][k], (__m512bh)z, w);
        }
        if (pairs) {
            pairs[0] = _mm512_permutex2var_epi16(x, low, z);
            pairs[1] = _mm512_permutex2var_epi16(x, high, z);
            pairs += APART;
        }
    }
    for (int r = 0; r < count; r++)
        EACH(k, K)
            sums[r * MOST_COLUMNS + k] = s[r][k];
}

/* S = X V^T; and the pairs of numbers of X, where the adjoint product is to follow. */
ROUGH void forward_rough_of(enum Kind kind, int K, const struct Block *of)
{
    const int64_t whole = of->d / 32 * 32;
    __m512 *sums = of->space->sums;
    memset(sums, 0, (size_t)of->n * MOST_COLUMNS * sizeof(__m512));
    for (int64_t j = 0; j < whole; j += TILE) {
        const int64_t width = whole - j < TILE ? whole - j : TILE, at = j * size_of(kind);
        const char *W = (const char *)of->W + j * K * 2;
        for (int64_t r = 0; r < of->n; r += 2) {
            const char *a = of->rows[r] + at;
            const char *soon = ahead(of, r, at, width * size_of(kind));
            const char *later = ahead(of, r + 1, at, width * size_of(kind));
            __m512i *pairs = of->G ? (__m512i *)of->space->packed + j / 32 * APART + r : NULL;
            if (r + 1 < of->n)
                dot_rough(kind, K, 2, a, of->rows[r + 1] + at, width, W, sums + r * MOST_COLUMNS, soon, later, pairs);
            else
                dot_rough(kind, K, 1, a, a, width, W, sums + r * MOST_COLUMNS, soon, later, pairs);
        }
    }
    for (int64_t r = 0; r < of->n; r++)
        for (int k = 0; k < K; k++) {
            float s = _mm512_reduce_add_ps(sums[r * MOST_COLUMNS + k]);
            for (int64_t j = whole; j < of->d; j++)
                s += number(kind, of->rows[r], j) * of->V[k * of->d + j];
            of->S[r * K + k] = s;
        }
}

/* G += M^T X for 32 columns; X and M come as pairs of numbers, of one row and the next. */
ROUGH void outer_rough(int K, const __m512i *packed, int64_t pairs, const uint32_t *M, float *G)
{
    __m512 s[2][MOST_COLUMNS];
    EACH(k, K)
        s[0][k] = s[1][k] = _mm512_setzero_ps();
    for (int64_t r = 0; r < pairs; r++) {
        const __m512i x = packed[2 * r], z = packed[2 * r + 1];
        EACH(k, K) {
            const __m512bh m = (__m512bh)_mm512_set1_epi32((int)M[r * K + k]);
            s[0][k] = _mm512_dpbf16_ps(s[0][k], (__m512bh)x, m);
            s[1][k] = _mm512_dpbf16_ps(s[1][k], (__m512bh)z, m);
        }
    }
    for (int h = 0; h < 2; h++)
        EACH(k, K)
            _mm512_storeu_ps(G + (h * K + k) * 16, _mm512_loadu_ps(G + (h * K + k) * 16) + s[h][k]);
}

/* G += M^T X, for the pairs that the forward product left. */
ROUGH void adjoint_rough_of(enum Kind kind, int K, const struct Block *of)
{
    const int64_t n = of->n, pairs = (n + 1) / 2, whole = of->d / 32 * 32;
    uint32_t *M = of->space->pairs;
    for (int64_t r = 0; r < pairs; r++)
        EACH(k, K) {
            const __m128 two = _mm_set_ps(0, 0, 2 * r + 1 < n ? of->S[(2 * r + 1) * K + k] : 0, of->S[2 * r * K + k]);
            M[r * K + k] = (uint32_t)_mm_cvtsi128_si32((__m128i)_mm_cvtneps_pbh(two));
        }
    for (int64_t j = 0; j < whole; j += 32)
        outer_rough(K, (const __m512i *)of->space->packed + j / 32 * APART, pairs, M, (float *)of->G + j * K);
    adjoint_rest(kind, K, of, whole);
}

#define FORWARD(kind, K) forward_rough_of(kind, K, of)
#define ADJOINT(kind, K) adjoint_rough_of(kind, K, of)
TARGET_ROUGH BY_KIND(forward_rough, FORWARD)
TARGET_ROUGH BY_KIND(adjoint_rough, ADJOINT)

#undef FORWARD
#undef ADJOINT
#undef ROUGH
#undef PAIR
#undef PAIRS
#undef TARGET_ROUGH
