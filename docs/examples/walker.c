/* A walker for `crosswalk replay FILE --walker cmd:./walker`: 4-level paging, as the SDM has it.
 * `cc -o walker walker.c` builds it. docs/guide/src/walker-protocol.md has what it reads and answers. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BIT(n) (UINT64_C(1) << (n))
#define ADDRESS (BIT(52) - BIT(12))
#define HEX "\"0x%" PRIx64 "\""
enum { P = 1 << 0, RW = 1 << 1, US = 1 << 2, PS = 1 << 7, G = 1 << 8 };
enum { WP = 1 << 16, NXE = 1 << 11, SMEP = 1 << 20, SMAP = 1 << 21, PKE = 1 << 22, PKS = 1 << 24 };
enum { CODE_P = 1, CODE_W = 2, CODE_U = 4, CODE_RSVD = 8, CODE_I = 16, CODE_PK = 32 };

/* What follows "NAME": in JSON without spaces, as every case is. */
static const char *field(const char *json, const char *name) {
    char key[64];
    int length = snprintf(key, sizeof key, "\"%s\":", name);
    const char *found = strstr(json, key);
    return found ? found + length : "";
}

static uint64_t number(const char *json, const char *name) {
    const char *text = field(json, name);
    return strtoull(text + (*text == '"'), NULL, 0);
}

static int is(const char *json, const char *name, const char *value) {
    return strncmp(field(json, name), value, strlen(value)) == 0;
}

static uint64_t entry_at(const char *json, uint64_t address) {
    const char *entry = field(json, "entries"), *end = strchr(entry, ']');
    for (; (entry = strchr(entry, '{')) && entry < end; entry++)
        if (number(entry, "address") == address) return number(entry, "value");
    return 0;
}

/* The error code of a page fault, or -1 and the physical address. */
static int walk(const char *json, uint64_t linear, uint64_t *physical) {
    const char *access = field(json, "access");
    uint64_t cr0 = number(json, "cr0"), cr4 = number(json, "cr4"), nxe = number(json, "efer") & NXE;
    int implicit = is(access, "implicit", "true"), user = number(access, "ring") == 3 && !implicit;
    int write = is(access, "kind", "\"write\"") || is(access, "kind", "\"rmw\"");
    int fetch = is(access, "kind", "\"fetch\""), amd = is(json, "vendor", "\"amd\"");
    int by_smep = cr4 & SMEP && !is(json, "smep_alone_reports_fetch", "false");
    int code = write * CODE_W | user * CODE_U | (fetch && (nxe || by_smep)) * CODE_I;
    uint64_t above = BIT(52) - BIT(number(json, "max_physical_address"));
    uint64_t entry, reserved, table = number(json, "cr3") & ~above, rights = RW | US, disabled = 0;
    int leaf = 0, shift = 48;
    while (!leaf) {
        shift -= 9;
        entry = entry_at(json, (table & ADDRESS) + 8 * (linear >> shift & 511));
        leaf = shift == 12 || (entry & PS && shift == 21) ||
               (entry & PS && shift == 30 && strstr(json, "\"page_1gb\""));
        reserved = above | (nxe ? 0 : BIT(63)) | (amd && shift == 39 ? G : 0);
        if (shift > 12) reserved |= leaf ? BIT(shift) - BIT(13) : PS; /* bit 12 is PAT */
        if (!(entry & P)) return code;
        if (entry & reserved) return code | CODE_P | CODE_RSVD;
        rights &= entry, disabled |= entry & BIT(63), table = entry;
    }
    int users = (rights & US) != 0, excused = is(json, "ac", "true") && !implicit;
    int denied = (user && !users) || (fetch && disabled) ||
                 (write && !(rights & RW) && (user || cr0 & WP)) ||
                 (users && !user && (fetch ? cr4 & SMEP : cr4 & SMAP && !excused));
    if (cr4 & (users ? PKE : PKS) && !fetch) { /* protection keys */
        uint64_t disable = number(json, users ? "pkru" : "pkrs") >> 2 * (table >> 59 & 15);
        if (disable & 1 || (disable & 2 && write && (cr0 & WP || (users && user))))
            denied = 1, code |= CODE_PK;
    }
    *physical = (table & ADDRESS & -BIT(shift)) | (linear & (BIT(shift) - 1));
    return denied ? code | CODE_P : -1;
}

/* Prints what a processor does with the case, as far as this program knows. */
static void answer(const char *json) {
    const char *access = field(json, "access");
    /* In compatibility mode an address has 32 bits, but not that of a descriptor. */
    int narrow = is(access, "compatibility", "true") && !is(access, "implicit", "true");
    uint64_t space = narrow ? BIT(32) - 1 : ~UINT64_C(0);
    uint64_t first = number(access, "address") & space;
    uint64_t last = (first + number(access, "size") - 1) & space;
    uint64_t cr2 = first, physical = 0, second = 0;
    int code = walk(json, first, &physical), crosses = first >> 12 != last >> 12;
    if (code < 0 && crosses) code = walk(json, cr2 = last & -BIT(12), &second);
    int masked = number(json, "cr3") >> 61 & 3 || number(json, "cr4") & BIT(28) || /* LAM */
                 number(json, "cr4") & BIT(27) || number(json, "efer") & BIT(20);  /* LASS, UAI */
    int checked = number(json, "cr0") & BIT(18) && is(json, "ac", "true") && /* alignment */
                  number(access, "ring") == 3 && !is(access, "implicit", "true") &&
                  !is(access, "kind", "\"fetch\"") && !is(access, "kind", "\"clflush\"");
    uint64_t size = number(access, "size"), align = size & (size - 1) ? 1 : size;
    if (size == 6) align = 4;
    int plain = !masked && !is(access, "shadow_stack", "true") && !*field(json, "before");
    if (!plain || !is(json, "mode", "\"4level\"") || *field(json, "global_in_pml4e_is_reserved"))
        puts("{\"silent\":\"only single accesses in 4-level paging, without LAM, LASS and CET\"}");
    else if (checked && first % align)
        puts("{\"fault\":{\"vector\":17,\"error_code\":\"0x0\"}}");
    else if ((first + BIT(47)) >> 48 || (last + BIT(47)) >> 48) /* bits 63:47 differ */
        printf("{\"fault\":{\"vector\":%d,\"error_code\":\"0x0\"}}\n",
               is(access, "segment", "\"stack\"") ? 12 : 13);
    else if (code >= 0)
        printf("{\"fault\":{\"vector\":14,\"error_code\":\"0x%x\",\"cr2\":" HEX "}}\n", code, cr2);
    else if (crosses)
        printf("{\"translated\":{\"address\":" HEX ",\"second\":" HEX "}}\n", physical, second);
    else
        printf("{\"translated\":{\"address\":" HEX "}}\n", physical);
}

int main(void) {
    static char line[1 << 20];
    while (fgets(line, sizeof line, stdin)) {
        answer(line);
        fflush(stdout);
    }
}
