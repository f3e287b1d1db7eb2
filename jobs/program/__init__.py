"""What every command is as a program: its command line, what it says, and how it ends."""
