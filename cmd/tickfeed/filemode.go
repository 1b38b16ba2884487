package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"tickfeed/codec/filemode"
)

// fileModeFlag adds --file-mode to the commands that write files which hold ticks or positions.
func fileModeFlag(root *cobra.Command, names ...string) {
	for _, cmd := range root.Commands() {
		if slices.Contains(names, cmd.Name()) {
			cmd.Flags().Var(fileMode{}, "file-mode", "permissions of the files that this command creates: `MODE` such as 0640, less the umask; those of directories follow from it")
		}
	}
}

// A fileMode is the value of --file-mode, which is set for the whole process.
type fileMode struct{}

func (fileMode) Set(s string) error {
	mode, err := filemode.Parse(s)
	if err == nil {
		err = filemode.Set(mode)
	}
	return err
}

func (fileMode) String() string { return fmt.Sprintf("%04o", uint32(filemode.File())) }

func (fileMode) Type() string { return "mode" }
