package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"tickfeed/feed/script"
	"tickfeed/feed/yamlfile"
)

// settings are where the settings of a file are.
type settings struct {
	path string
	root *yaml.Node
}

// readSettings reads the file at path. The error is a usage error.
func readSettings(path string, text []byte) (settings, error) {
	root, err := yamlfile.Parse(text, "log-level: debug")
	s := settings{path, root}
	if wrong := new(yamlfile.Error); errors.As(err, &wrong) {
		return s, usage("--config: %s:%d: %s", path, wrong.Line, wrong.Text)
	}
	if root != nil && root.Kind != yaml.MappingNode {
		return s, usage("--config: %s:%d: want settings, one on a line, such as log-level: debug, or a section such as publish: with its settings indented below it", path, root.Line)
	}
	if twice := s.twice(root, ""); twice != nil {
		return s, twice
	}
	return s, err
}

// twice joins a usage error for each key that is there twice in n, which belongs to the key above.
func (s settings) twice(n *yaml.Node, above string) (wrong error) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if seen[key.Value] {
			wrong = errors.Join(wrong, usage("--config: %s:%d: %s%s is there twice: remove one", s.path, key.Line, above, key.Value))
		}
		seen[key.Value] = true
		wrong = errors.Join(wrong, s.twice(n.Content[i+1], above+key.Value+"."))
	}
	return wrong
}

// place returns the file and the line of a setting.
func (s settings) place(keys ...string) string {
	line, at := 1, s.root
	for _, key := range keys {
		for i := 0; at != nil && at.Kind == yaml.MappingNode && i+1 < len(at.Content); i += 2 {
			if at.Content[i].Value == key {
				line, at = at.Content[i].Line, at.Content[i+1]
				break
			}
		}
	}
	return fmt.Sprintf("--config: %s:%d", s.path, line)
}

// checkKeys calls wrong for each key that is not a flag, with the keys that lead to its place.
func checkKeys(root *cobra.Command, raw map[string]any, wrong func(err error, keys ...string)) {
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		value := raw[name]
		cmd, _, err := root.Find([]string{name})
		if err != nil || cmd == root || !cmd.Runnable() {
			if root.PersistentFlags().Lookup(name) == nil || name == "config" {
				wrong(fmt.Errorf("there is no setting %q at the top level%s; put the settings of a command in its section, such as publish", name, script.DidYouMean(name, topKeys(root))), name)
			}
			continue
		}
		section, ok := value.(map[string]any)
		if !ok && value != nil {
			wrong(fmt.Errorf("section %q must hold settings, one on a line and indented, such as seed: 7; got %v", name, value), name)
		}
		for _, flag := range slices.Sorted(maps.Keys(section)) {
			if cmd.Flags().Lookup(flag) == nil || slices.Contains(notSet, flag) {
				wrong(fmt.Errorf("there is no setting %q in section %q%s", flag, name, script.DidYouMean(flag, flagNames(cmd.Flags()))), name, flag)
			}
		}
	}
}

// topKeys returns the keys that the top level of the file may have.
func topKeys(root *cobra.Command) []string {
	names := flagNames(root.PersistentFlags())
	for _, c := range root.Commands() {
		names = append(names, c.Name())
	}
	return names
}

func flagNames(f *pflag.FlagSet) (names []string) {
	f.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return names
}
