package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Blocks of docs/state.md that start with "// examples/custom/FILE" must equal that file.
func TestDocsQuoteTheExamples(t *testing.T) {
	page, err := os.ReadFile("../../docs/state.md")
	if err != nil {
		t.Fatal(err)
	}
	quotes := 0
	for i, block := range strings.Split(string(page), "```") {
		code, ok := strings.CutPrefix(block, "go\n// examples/custom/")
		if i%2 == 0 || !ok {
			continue
		}
		quotes++
		file, code, _ := strings.Cut(code, "\n")
		text, err := os.ReadFile(filepath.Base(file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), code) {
			t.Errorf("%s does not have what docs/state.md quotes:\n%s", file, code)
		}
	}
	if quotes == 0 {
		t.Error("docs/state.md quotes nothing")
	}
}
