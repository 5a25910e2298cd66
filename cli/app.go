package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/cli/appfile"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

func newAppCommand() *cobra.Command {
	return newGroup("app", "Work with apps", newAppCheckCommand(), newAppFunctionsCommand(), newAppDeployCommand(),
		newAppUpgradeCommand(), newAppScaleCommand(), newAppShadowCommand(), newAppHistoryCommand(), newAppRollbackCommand(),
		newAppListCommand(), newAppShowCommand(), newAppResumeCommand(), newAppRemoveCommand())
}

// app is an app's file and its compiled plan.
type app struct {
	file string
	text string
	plan *siddhiql.Plan
}

// checkedFile is the result of `app check` for one file.
type checkedFile struct {
	File       string         `json:"file"`
	App        string         `json:"app,omitempty"`
	Partitions int            `json:"partitions,omitempty"`
	Streams    []streamInfo   `json:"streams,omitempty"`
	Queries    []queryInfo    `json:"queries,omitempty"`
	Errors     []checkProblem `json:"errors,omitempty"`
	Warnings   []checkProblem `json:"warnings,omitempty"`
}

type streamInfo struct {
	Name       string `json:"name"`
	Definition string `json:"definition"`
	Subject    string `json:"subject,omitempty"` // where events are published
	Origin     string `json:"origin,omitempty"`  // the JetStream stream that has its events
	Results    string `json:"results,omitempty"` // where its rows come out
	Format     string `json:"format,omitempty"`  // of the results, if it is not JSON
}

type queryInfo struct {
	Name string `json:"name,omitempty"`
	From string `json:"from"`
	Into string `json:"into"`
}

type checkProblem struct {
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Message string `json:"message"`
}

func newAppCheckCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check FILE…",
		Short: "Check apps without running them",
		Long: `Checks apps and prints all their errors as file:line:column: message, or what the
apps read and write.`,
		Args: someArgs("FILE"),
		RunE: func(cmd *cobra.Command, files []string) error {
			if asJSON {
				return checkAsJSON(cmd.OutOrStdout(), files)
			}
			apps, err := loadApps(cmd.ErrOrStderr(), files)
			for _, a := range apps {
				printSummary(cmd.OutOrStdout(), describe(a))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// loadApps reads and checks apps, as a deploy does. It writes all errors of all files to errOut,
// and always returns the apps without errors.
func loadApps(errOut io.Writer, files []string, inboxes ...string) ([]app, error) {
	var apps []app
	var failed []string
	for _, file := range files {
		text, plan, err := compileFile(file, inboxes...)
		if err != nil {
			failed = append(failed, file)
			fmt.Fprintln(errOut, inFile(file, err))
			continue
		}
		apps = append(apps, app{file, text, plan})
	}
	if len(failed) > 0 {
		return apps, reportedError{fmt.Errorf("refused: %s", strings.Join(failed, ", "))}
	}
	return apps, nil
}

func compileFile(file string, inboxes ...string) (text string, plan *siddhiql.Plan, err error) {
	text, err = appfile.Read(file)
	if err != nil {
		return text, nil, err
	}
	plan, err = siddhiql.Compile(text, inboxes...)
	return text, plan, err
}

// loadKnownApps reads apps that may already be deployed, perhaps by an earlier release. It also
// accepts apps that only a deploy would refuse; the caller decides about them.
func loadKnownApps(errOut io.Writer, files []string) (apps []app, refused error) {
	var failed []string
	for _, file := range files {
		text, plan, err := compileFile(file)
		if err != nil {
			if old, oldErr := siddhiql.CompileDeployed(text); oldErr == nil {
				plan = old
				refused = errors.Join(refused, errors.New(inFile(file, err)))
				err = nil
			}
		}
		if err != nil {
			failed = append(failed, file)
			fmt.Fprintln(errOut, inFile(file, err))
			continue
		}
		apps = append(apps, app{file, text, plan})
	}
	if len(failed) > 0 {
		return nil, reportedError{fmt.Errorf("refused: %s", strings.Join(failed, ", "))}
	}
	return apps, refused
}

// inFile returns the text of err with the file name, one problem per line.
func inFile(file string, err error) string {
	var list siddhiql.ErrorList
	if errors.As(err, &list) {
		return list.In(file)
	}
	var path *os.PathError
	if errors.As(err, &path) {
		return fmt.Sprintf("%s: %s: %v", file, path.Op, path.Err)
	}
	return fmt.Sprintf("%s: %v", file, err)
}

func checkAsJSON(w io.Writer, files []string) error {
	var failed []string
	list := make([]checkedFile, 0, len(files))
	for _, file := range files {
		text, plan, err := compileFile(file)
		if err == nil {
			list = append(list, describe(app{file, text, plan}))
			continue
		}
		failed = append(failed, file)
		list = append(list, checkedFile{File: file, Errors: problems(err)})
	}
	if err := printJSON(w, list); err != nil {
		return err
	}
	if len(failed) > 0 {
		return fmt.Errorf("refused: %s", strings.Join(failed, ", "))
	}
	return nil
}

func problems(err error) []checkProblem {
	var list siddhiql.ErrorList
	if !errors.As(err, &list) {
		return []checkProblem{{Message: err.Error()}}
	}
	problems := make([]checkProblem, len(list))
	for i, e := range list {
		problems[i] = checkProblem{Line: e.Pos.Line, Column: e.Pos.Column, Message: e.Msg}
	}
	return problems
}

func describe(a app) checkedFile {
	d := checkedFile{File: a.file, App: a.plan.Name, Partitions: a.plan.Partitions}
	if len(a.plan.Warnings) > 0 {
		d.Warnings = problems(a.plan.Warnings)
	}
	for _, s := range a.plan.Streams {
		if s.Block < 0 {
			d.Streams = append(d.Streams, streamInfo{s.Name, s.Schema.String(), s.Subject, originText(s), results(a.plan, s), s.Sink.ContentType()})
		}
	}
	for _, q := range a.plan.Queries {
		d.Queries = append(d.Queries, queryInfo{q.Name, sources(q), streamName(q.Target)})
	}
	return d
}

// originText names the JetStream stream or the KV bucket that a stream or table is read from; "" if there is none.
func originText(s *siddhiql.Stream) string {
	if s.Origin == nil && s.ReadsBucket() == nil {
		return ""
	}
	return s.ReadsFrom()
}

// results returns the subjects where the rows that queries insert into a stream are published,
// or "" if they are not published.
func results(plan *siddhiql.Plan, s *siddhiql.Stream) string {
	into := slices.ContainsFunc(plan.Queries, func(q *siddhiql.Query) bool { return q.Target == s })
	if !into || s.Sink.Off || plan.Name == "" {
		return ""
	}
	if t := s.Sink.Subject; t != nil {
		return t.Pattern("*")
	}
	return fmt.Sprintf("out.%s.%s.*", plan.Name, s.Name)
}

// formatSuffix ends a line about results.
func formatSuffix(format string) string {
	if format == "" {
		return ""
	}
	return " as " + format
}

func printSummary(w io.Writer, d checkedFile) {
	name := d.App
	if name == "" {
		name = "app without a name"
	}
	fmt.Fprintf(w, "%s: %s is sound\n", d.File, name)
	for _, s := range d.Streams {
		fmt.Fprintf(w, "  stream %s\n", s.Definition)
		if s.Subject != "" {
			fmt.Fprintf(w, "    events are published to %s\n", s.Subject)
		}
		if s.Origin != "" {
			fmt.Fprintf(w, "    read from %s\n", s.Origin)
		}
		if s.Results != "" {
			fmt.Fprintf(w, "    results come on %s%s\n", s.Results, formatSuffix(s.Format))
		}
	}
	for _, p := range d.Warnings {
		fmt.Fprintf(w, "  warning at %d:%d: %s\n", p.Line, p.Column, p.Message)
	}
	for i, q := range d.Queries {
		name := q.Name
		if name == "" {
			name = fmt.Sprintf("%d", i+1)
		}
		fmt.Fprintf(w, "  query %s: %s → %s\n", name, q.From, q.Into)
	}
}

// sources names the streams that a query reads.
func sources(q *siddhiql.Query) string {
	var names []string
	for _, s := range q.Reads() {
		names = append(names, streamName(s))
	}
	return strings.Join(names, ", ")
}

// streamName returns the name of a stream as an app writes it.
func streamName(s *siddhiql.Stream) string {
	if s.Block >= 0 {
		return "#" + s.Name
	}
	return s.Name
}
