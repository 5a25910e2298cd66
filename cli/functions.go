package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/function"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// listedFunction is one function, aggregator or window.
type listedFunction struct {
	Name       string   `json:"name"`
	Kind       string   `json:"kind"` // function, aggregator, window or stream function
	Signatures []string `json:"signatures"`
	Doc        string   `json:"doc,omitempty"`
}

func newAppFunctionsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "functions",
		Short: "List the functions, aggregators and windows of the language",
		Long: `Lists the functions, aggregators and windows that apps can name, with their
arguments. The list includes those that this program adds to the language.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := listFunctions()
			if asJSON {
				out := json.NewEncoder(cmd.OutOrStdout())
				out.SetEscapeHTML(false)
				out.SetIndent("", "  ")
				return out.Encode(list)
			}
			printFunctions(cmd.OutOrStdout(), list)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func listFunctions() []listedFunction {
	var list []listedFunction
	for _, f := range siddhiql.Functions() {
		list = append(list, listedFunction{f.Name, "function", []string{f.Usage}, f.Doc})
	}
	for _, name := range function.Names() {
		s, _ := function.Lookup(name)
		list = append(list, listedFunction{name, "function", s.Usages(), s.Doc})
	}
	for _, name := range aggregate.Names() {
		s, _ := aggregate.Lookup(name)
		list = append(list, listedFunction{name, "aggregator", []string{s.Usage}, s.Doc})
	}
	for _, name := range window.Names() {
		s, _ := window.Lookup(name)
		list = append(list, listedFunction{name, "window", []string{s.Usage}, ""})
	}
	for _, name := range function.StreamNames() {
		s, _ := function.LookupStream(name)
		list = append(list, listedFunction{name, "stream function", []string{"#" + s.Usage}, s.Doc})
	}
	slices.SortStableFunc(list, func(a, b listedFunction) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return list
}

func printFunctions(out io.Writer, list []listedFunction) {
	kind := ""
	for _, f := range list {
		if f.Kind != kind {
			kind = f.Kind
			fmt.Fprintf(out, "%ss:\n", kind)
		}
		for _, s := range f.Signatures {
			fmt.Fprintf(out, "  %s\n", s)
		}
		if f.Doc != "" {
			fmt.Fprintf(out, "      %s\n", f.Doc)
		}
	}
}
