// Compares a page walker with test vectors: `crosswalk corpus export | go run docs/examples/vectors.go`.
// The walker is the function walk, 4-level and 5-level paging as the SDM has them: replace it by a call of
// your own. docs/guide/src/corpus.md describes the fields of a vector.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Hex is a number of 64 bits, which JSON has as a string such as "0x1000".
type Hex uint64

// UnmarshalJSON reads the string.
func (h *Hex) UnmarshalJSON(text []byte) error {
	value, err := strconv.ParseUint(strings.Trim(string(text), `"`), 0, 64)
	*h = Hex(value)
	return err
}

// Vector has the fields of a vector that this program needs.
type Vector struct {
	Name    string
	Case    Case
	Allowed struct{ Access []Outcome }
}

// Case is what is tried.
type Case struct {
	Mode  string
	State struct {
		CR0, CR3, CR4, EFER, PKRU, PKRS Hex
		AC                              bool
	}
	Entries []struct{ Address, Value Hex }
	Before  []json.RawMessage
	Access  struct {
		Kind, Segment           string
		Address                 Hex
		Size                    uint64
		Ring                    int
		Implicit, Compatibility bool
		ShadowStack             bool `json:"shadow_stack"`
	}
	Profile struct {
		Vendor             string
		MaxPhysicalAddress uint `json:"max_physical_address"`
		Features           []string
		Pins               map[string]bool
	}
}

// Outcome is one way in which an access may go.
type Outcome struct {
	Translated []struct{ Address Hex }
	Fault      *Fault
	Entries    []struct {
		Address, Before Hex
		MustSet         Hex `json:"must_set"`
		MaySet          Hex `json:"may_set"`
	}
}

// Fault is an exception. CR2 is nil where CR2 keeps its value.
type Fault struct {
	Vector    int
	ErrorCode Hex `json:"error_code"`
	CR2       *Hex
}

// Result is what the walker says: a fault, or where each page of the access lies and which entries change.
type Result struct {
	fault   *Fault
	parts   []Hex
	changed map[Hex]Hex
}

const (
	entryP, entryRW, entryUS, entryA, entryD, entryPS, entryG = 1 << 0, 1 << 1, 1 << 2, 1 << 5, 1 << 6, 1 << 7, 1 << 8
	entryXD, entryAddress                                     = 1 << 63, 1<<52 - 1<<12

	cr0WP, cr0AM                                             = 1 << 16, 1 << 18
	cr4SMEP, cr4SMAP, cr4PKE, cr4PKS, cr4LASS, cr4LAMSUP     = 1 << 20, 1 << 21, 1 << 22, 1 << 24, 1 << 27, 1 << 28
	eferNXE, eferUAIE, cr3LAM                                = 1 << 11, 1 << 20, 3 << 61
	codeP, codeW, codeU, codeRSVD, codeI, codePK         Hex = 1, 2, 4, 8, 16, 32
)

var levels = map[string]uint{"4level": 4, "5level": 5}

func (c *Case) has(feature string) bool {
	for _, name := range c.Profile.Features {
		if name == feature {
			return true
		}
	}
	return false
}

// pin is what the processor is known to do where the manuals leave a choice.
func (c *Case) pin(name string, otherwise bool) bool {
	if value, known := c.Profile.Pins[name]; known {
		return value
	}
	return otherwise
}

func (c *Case) entryAt(address Hex) Hex {
	for _, entry := range c.Entries {
		if entry.Address == address {
			return entry.Value
		}
	}
	return 0
}

// walk follows one address. It adds to the result, or returns the error code of a page fault.
func walk(c *Case, address Hex, result *Result) (code Hex, faulted bool) {
	state, access := &c.State, &c.Access
	user := access.Ring == 3 && !access.Implicit
	write := access.Kind == "write" || access.Kind == "rmw"
	fetch := access.Kind == "fetch"
	nxe := state.EFER&eferNXE != 0
	if write {
		code |= codeW
	}
	if user {
		code |= codeU
	}
	if fetch && (nxe || state.CR4&cr4SMEP != 0 && c.pin("smep_alone_reports_fetch", true)) {
		code |= codeI
	}

	above := Hex(1)<<52 - Hex(1)<<c.Profile.MaxPhysicalAddress
	table := state.CR3 & entryAddress &^ above
	rights, disabled, entry, shift := Hex(entryRW|entryUS), Hex(0), Hex(0), uint(0)
	changed := map[Hex]Hex{}
	for level := levels[c.Mode]; ; level-- {
		shift = 3 + 9*level
		at := table + 8*(address>>shift&511)
		entry = c.entryAt(at)
		large := level == 2 || level == 3 && c.has("page_1gb")
		leaf := level == 1 || large && entry&entryPS != 0

		reserved := above
		if !nxe {
			reserved |= entryXD
		}
		if level > 1 && leaf {
			reserved |= Hex(1)<<shift - 1<<13 // bit 12 of a large page is its PAT bit
		} else if level > 1 {
			reserved |= entryPS
		}
		if level > 3 && c.pin("global_in_pml4e_is_reserved", c.Profile.Vendor == "amd") {
			reserved |= entryG
		}
		if entry&entryP == 0 {
			return code, true
		}
		if entry&reserved != 0 {
			return code | codeP | codeRSVD, true
		}

		rights, disabled = rights&entry, disabled|entry&entryXD
		after := entry | entryA
		if leaf && write {
			after |= entryD
		}
		if after != entry {
			changed[at] = after
		}
		if leaf {
			break
		}
		table = entry & entryAddress
	}

	userPage, wp := rights&entryUS != 0, state.CR0&cr0WP != 0
	denied := user && !userPage || write && (user || wp) && rights&entryRW == 0 || fetch && disabled != 0
	if userPage && !user {
		excused := state.AC && !access.Implicit
		denied = denied || fetch && state.CR4&cr4SMEP != 0 || !fetch && state.CR4&cr4SMAP != 0 && !excused
	}
	enabled, rightsOfKeys := state.CR4&cr4PKS != 0, state.PKRS
	if userPage {
		enabled, rightsOfKeys = state.CR4&cr4PKE != 0, state.PKRU
	}
	if enabled && !fetch {
		disable := rightsOfKeys >> (2 * (entry >> 59 & 15))
		if disable&1 != 0 || disable&2 != 0 && write && (wp || userPage && user) {
			denied, code = true, code|codePK
		}
	}
	if denied {
		return code | codeP, true
	}

	offset := Hex(1)<<shift - 1
	result.parts = append(result.parts, entry&entryAddress&^offset|address&offset)
	for at, value := range changed {
		result.changed[at] |= value
	}
	return 0, false
}

// run is what a processor does with a case, as far as this program knows; nil if it does not.
func run(c *Case) *Result {
	state, access := &c.State, &c.Access
	count := levels[c.Mode]
	masked := state.CR4&(cr4LASS|cr4LAMSUP) != 0 || state.CR3&cr3LAM != 0 || state.EFER&eferUAIE != 0
	if count == 0 || len(c.Before) > 0 || access.ShadowStack || masked || access.Size > 15 {
		return nil
	}

	data := (access.Kind == "read" || access.Kind == "write" || access.Kind == "rmw") && !access.Implicit
	alignment := map[uint64]Hex{2: 2, 4: 4, 6: 4, 8: 8}[access.Size]
	if alignment != 0 && access.Address%alignment != 0 && data &&
		state.CR0&cr0AM != 0 && state.AC && access.Ring == 3 {
		return &Result{fault: &Fault{Vector: 17}}
	}

	// In compatibility mode an address has 32 bits, but not that of a descriptor.
	space := ^Hex(0)
	if access.Compatibility && !access.Implicit {
		space = 1<<32 - 1
	}
	first := access.Address & space
	last := (first + Hex(access.Size) - 1) & space
	sign := 63 - (11 + 9*count) // bits 63:47, or 63:56, are all the same
	canonical := func(address Hex) bool { return Hex(int64(address)<<sign>>sign) == address }
	if !canonical(first) || !canonical(last) {
		if access.Segment == "stack" && access.Kind != "fetch" {
			return &Result{fault: &Fault{Vector: 12}}
		}
		return &Result{fault: &Fault{Vector: 13}}
	}

	result := &Result{changed: map[Hex]Hex{}}
	pages := []Hex{first}
	if first>>12 != last>>12 {
		pages = append(pages, last>>12<<12)
	}
	for _, address := range pages {
		if code, faulted := walk(c, address, result); faulted {
			address := address
			return &Result{fault: &Fault{Vector: 14, ErrorCode: code, CR2: &address}}
		}
	}
	return result
}

// allows is whether a result is this outcome.
func (o *Outcome) allows(result *Result) bool {
	if o.Fault != nil || result.fault != nil {
		if o.Fault == nil || result.fault == nil {
			return false
		}
		a, b := o.Fault, result.fault
		sameCR2 := a.CR2 == nil && b.CR2 == nil || a.CR2 != nil && b.CR2 != nil && *a.CR2 == *b.CR2
		return a.Vector == b.Vector && a.ErrorCode == b.ErrorCode && sameCR2
	}

	// The entries that are listed may change, or must; all others stay as they are.
	listed := map[Hex]bool{}
	for _, entry := range o.Entries {
		value, changed := result.changed[entry.Address]
		if !changed {
			value = entry.Before
		}
		if (value^(entry.Before|entry.MustSet))&^entry.MaySet != 0 {
			return false
		}
		listed[entry.Address] = true
	}
	for address := range result.changed {
		if !listed[address] {
			return false
		}
	}

	if len(o.Translated) != len(result.parts) {
		return false
	}
	for i, part := range o.Translated {
		if part.Address != result.parts[i] {
			return false
		}
	}
	return true
}

func main() {
	if len(os.Args) > 1 {
		fmt.Fprintln(os.Stderr, "vectors.go: the vectors come from standard input: expected no argument")
		os.Exit(2)
	}
	agree, differ, skipped := 0, 0, 0
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var vector Vector
		if err := json.Unmarshal(lines.Bytes(), &vector); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}

		result := run(&vector.Case)
		if result == nil {
			skipped++
			continue
		}
		allowed := false
		for i := range vector.Allowed.Access {
			allowed = allowed || vector.Allowed.Access[i].allows(result)
		}
		if allowed {
			agree++
			continue
		}
		if differ++; differ <= 10 {
			fmt.Printf("%s: not allowed: fault %+v, parts %#x, entries %#x\n",
				vector.Name, result.fault, result.parts, result.changed)
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}

	fmt.Printf("%d agree, %d differ, %d skipped\n", agree, differ, skipped)
	// Nothing that was compared is nothing that agrees.
	if differ > 0 || agree == 0 {
		os.Exit(1)
	}
}
